"""The warped reference: the speaker's picture bent to each pose, by moving least squares and rigid limbs."""

"""The warped reference: the speaker's picture warped to each pose, by moving least squares and rigid limbs."""

"""What the tables measure: pictures, motion, proxy metrics trained here and published ones by a user's weights."""

"""The procedural speaker: an endless supply of people who talk and gesture, with exact keypoints."""

"""From speech to a talking video in eight lines: python -m examples.generate"""

from iasa import CoSpeechPipeline, load_speaker, read_audio
from iasa.paths import SPEECH

pipe = CoSpeechPipeline.from_pretrained()  # or a folder of your own weights, or a Hub repository
audio, rate = read_audio(SPEECH / "welcome.mp3")  # float32 [n], 16 kHz; any sound or video file will do
video = pipe(audio[: 2 * rate], load_speaker("dana"), num_inference_steps=1)  # or image="portrait.jpg"
video.save("talking.mp4")
print(f"{len(video.frames)} frames; {video.plan.density():.1%} of the token pairs were computed")
for frames in pipe.stream(audio[:rate], load_speaker("alba")).frames:  # uint8 [2, 256, 256, 3], as they are made
    print(frames.shape)

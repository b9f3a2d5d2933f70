"""Speech: reading it, finding its phones, and the features that drive a speaker's mouth, head and hands."""

from iasa.speech.features import SpeechFeatures, analyse, check_audio, read_audio, to_rate, to_speech
from iasa.speech.prosody import Prosody, find_accents, make_prosody
from iasa.speech.visemes import VISEME_CHANNELS, Phone, make_visemes

__all__ = [
    "VISEME_CHANNELS",
    "Phone",
    "Prosody",
    "SpeechFeatures",
    "analyse",
    "check_audio",
    "find_accents",
    "make_prosody",
    "make_visemes",
    "read_audio",
    "to_rate",
    "to_speech",
]

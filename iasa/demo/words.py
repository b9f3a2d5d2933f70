"""The page's words in English and German; the browser's language chooses."""

from typing import Any

import gradio as gr

from iasa.demo.learn import about, about_measured, about_notebooks, about_programs, about_weights

WORDS = {
    "en": {
        "title": "# Speech in, talking speaker out\nInput-aware sparse attention on an ordinary processor. The speakers are "
        "drawn, or a photograph that is carried by its pose; every video is AI-generated and marked so.",
        "speak": "Speak",
        "compare": "Compare",
        "explore": "Explore",
        "learn": "Learn",
        "audio": "Speech",
        "live": "Live: speak into the microphone",
        "live_intro": "The chosen speaker says it with you, about a second later, for up to a minute. Press record; "
        "nothing is kept.",
        "live_mic": "Microphone",
        "live_cancel": "Stop and discard",
        "kind_example": "Example speaker",
        "kind_drawn": "Drawn from a number",
        "kind_photo": "My photo",
        "kind_puppet": "Puppet of my photo",
        "examples": "Or one of these",
        "other_sound": "The sound of another file, or of a video",
        "no_voice": "Typed text needs a voice: `pip install espeakng-loader` (eSpeak NG, GPL).",
        "typed": "Or type what is to be said (a synthetic voice reads it)",
        "voice": "Voice",
        "voice_auto": "The language of the text",
        "read": "Read it aloud",
        "speaker": "Speaker",
        "pick": "Click on a picture, or on a name",
        "number": "Number: each is another person",
        "photo": "A picture of one person, from the front",
        "consent": "This is me, or the person in the picture agreed to this use",
        "movement": "Movement",
        "motion": "Who makes the gestures",
        "motion_info": "rules: by syllables and pauses; learned: a trained motion model, which begins somewhat later",
        "amount": "Amount of gestures",
        "blink": "Blinking",
        "height": "Hands higher, in cm",
        "lock": "Head and trunk still",
        "driving": "Movement from elsewhere: poses (npz) or a video of one person",
        "preview": "Show the poses",
        "poses": "The poses",
        "poses_file": "Download the poses (npz)",
        "settings": "Settings",
        "model": "Model",
        "model_info": "student: few steps, sparse; teacher: slow, dense",
        "steps": "Denoising steps",
        "seed": "Seed of gestures and noise",
        "restore": "Settings of a video that was made here (mp4)",
        "generate": "Generate",
        "cancel": "Cancel",
        "video": "The speaker (AI-generated)",
        "made_before": "### Ready-made examples\nWatch at once; nothing is computed.",
        "compare_intro": "One clip, three ways: the many-step dense teacher, the student with dense attention to all of the "
        "past, and the student with the input-aware mask.",
        "seconds": "Seconds of the speech",
        "teacher_steps": "Steps of the teacher",
        "two_patterns": "Instead of the three: the student under two patterns of attention",
        "run": "Compare",
        "three": "Side by side (AI-generated)",
        "explore_intro": "Which patches may attend to which, from the poses alone. Point, drag, switch: everything is "
        "recomputed in your browser.",
        "clip": "Your own pose file or video",
        "or_example": "Or",
        "made_last": "The video made last, else an example",
        "record": "Also record what the student attends to (makes the clip again)",
        "open": "Explore",
        "page_file": "Download the explorer as a page of its own",
        "picture": "The plan as a picture",
        "draw": "Draw the plan",
        "regions": "Regions",
        "block": "Block of the attention matrix",
        "top_k": "K: past frames chosen by pose",
        "figures": "Figures",
    },
    "de": {
        "title": "# Sprache hinein, sprechende Person heraus\nAufmerksamkeit, die der Eingabe folgt, auf einem gewöhnlichen "
        "Prozessor. Die Sprecher sind gezeichnet, oder ein Foto wird von seiner Pose getragen; jedes Video ist KI-erzeugt "
        "und so gekennzeichnet.",
        "speak": "Sprechen",
        "compare": "Vergleichen",
        "explore": "Erkunden",
        "learn": "Lernen",
        "audio": "Sprache",
        "live": "Live: ins Mikrofon sprechen",
        "live_intro": "Der gewählte Sprecher sagt es mit, etwa eine Sekunde später, bis zu einer Minute lang. Auf Aufnahme "
        "drücken; nichts wird aufbewahrt.",
        "live_mic": "Mikrofon",
        "live_cancel": "Anhalten und verwerfen",
        "kind_example": "Beispielsprecher",
        "kind_drawn": "Aus einer Nummer gezeichnet",
        "kind_photo": "Mein Foto",
        "kind_puppet": "Puppe meines Fotos",
        "examples": "Oder eines von diesen",
        "other_sound": "Der Ton einer anderen Datei oder eines Videos",
        "no_voice": "Getippter Text braucht eine Stimme: `pip install espeakng-loader` (eSpeak NG, GPL).",
        "typed": "Oder tippen, was gesagt werden soll (eine künstliche Stimme liest es vor)",
        "voice": "Stimme",
        "voice_auto": "Die Sprache des Textes",
        "read": "Vorlesen",
        "speaker": "Wer spricht",
        "pick": "Auf ein Bild oder einen Namen klicken",
        "number": "Nummer: jede ist eine andere Person",
        "photo": "Ein Bild einer Person, von vorn",
        "consent": "Das bin ich, oder die abgebildete Person ist einverstanden",
        "movement": "Bewegung",
        "motion": "Wer die Gesten macht",
        "motion_info": "rules: Regeln nach Silben und Pausen; learned: ein gelernter Darsteller, der etwas später anfängt",
        "amount": "Menge der Gesten",
        "blink": "Blinzeln",
        "height": "Hände höher, in cm",
        "lock": "Kopf und Rumpf still",
        "driving": "Bewegung von anderswo: Posen (npz) oder ein Video einer Person",
        "preview": "Posen zeigen",
        "poses": "Die Posen",
        "poses_file": "Posen herunterladen (npz)",
        "settings": "Einstellungen",
        "model": "Modell",
        "model_info": "student: wenige Schritte, dünn besetzt; teacher: langsam, voll besetzt",
        "steps": "Entrauschungsschritte",
        "seed": "Startzahl für Gesten und Rauschen",
        "restore": "Einstellungen eines hier gemachten Videos (mp4)",
        "generate": "Erzeugen",
        "cancel": "Abbrechen",
        "video": "Die sprechende Person (KI-erzeugt)",
        "made_before": "### Schon gemacht\nSofort anzusehen; nichts wird gerechnet.",
        "compare_intro": "Ein Clip auf drei Arten: der Lehrer mit vielen Schritten und voller Aufmerksamkeit, der Schüler mit "
        "voller Aufmerksamkeit auf alles Vergangene, und der Schüler mit der Maske, die der Eingabe folgt.",
        "seconds": "Sekunden der Sprache",
        "teacher_steps": "Schritte des Lehrers",
        "two_patterns": "Statt der drei: der Schüler unter zwei Mustern der Aufmerksamkeit",
        "run": "Vergleichen",
        "three": "Nebeneinander (KI-erzeugt)",
        "explore_intro": "Welche Bildausschnitte einander sehen dürfen, allein aus den Posen. Zeigen, ziehen, schalten: alles "
        "wird im Browser neu berechnet.",
        "clip": "Eine eigene Posendatei oder ein Video",
        "or_example": "Oder",
        "made_last": "Das letzte Video, sonst ein Beispiel",
        "record": "Auch aufzeichnen, worauf der Schüler achtet (macht den Clip noch einmal)",
        "open": "Erkunden",
        "page_file": "Den Erkunder als eigene Seite herunterladen",
        "picture": "Der Plan als Bild",
        "draw": "Plan zeichnen",
        "regions": "Regionen",
        "block": "Block der Aufmerksamkeitsmatrix",
        "top_k": "K: nach Pose gewählte frühere Bilder",
        "figures": "Zahlen",
    },
}

LEARN = (about, about_measured, about_weights, about_notebooks, about_programs)
translations = gr.I18n(
    **{
        code: {f"iasa_{key}": text for key, text in (entries | {part.__name__: part(code) for part in LEARN}).items()}
        for code, entries in WORDS.items()
    }
)


def words(key: str) -> Any:  # I18nData, which some components take without saying so
    """A text of the page, in the language of the browser; gradio has keys of its own, so ours are marked."""
    return translations(f"iasa_{key}")

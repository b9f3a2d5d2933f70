"""German for what the program says while it runs: errors, progress, figures; texts that are not listed stay English."""

from __future__ import annotations

import functools
import re

# English -> German; a name in braces stands for whatever the sentence holds there.
GERMAN = {
    # the page itself
    "Error": "Fehler",
    "Stopped.": "Angehalten.",
    "Reading": "Lesen",
    "Reading the clip": "Der Clip wird gelesen",
    "Finding the person": "Die Person wird gesucht",
    "Making the clip again, looking on": "Der Clip wird noch einmal gemacht und beobachtet",
    "Listening: phones, stress, gestures": "Zuhören: Laute, Betonung, Gesten",
    "Planning the attention": "Die Aufmerksamkeit wird geplant",
    "Making frames": "Bilder entstehen",
    "teacher": "Lehrer",
    "dense student": "Schüler, voll besetzt",
    "sparse student": "Schüler, dünn besetzt",
    "Place {place} of {all} in the line": "Platz {place} von {all} in der Reihe",
    ", about {seconds} s": ", etwa {seconds} s",
    "Ready-made; Generate makes it anew on this machine": "Fertig gespeichert; Erzeugen macht es hier noch einmal",
    "Licence": "Lizenz",
    "{stage}, about {seconds} s left": "{stage}, noch etwa {seconds} s",
    "First frame after {first} s, {speed} frames/s so far": "Erstes Bild nach {first} s, bisher {speed} Bilder/s",
    "First frame after {first} s, {speed} frames/s in all": "Erstes Bild nach {first} s, insgesamt {speed} Bilder/s",
    "Listening: {heard} s heard": "Ich höre zu: {heard} s gehört",
    "Live: first frame after {first} s, {speed} frames/s, {heard} s heard": (
        "Live: erstes Bild nach {first} s, {speed} Bilder/s, {heard} s gehört"
    ),
    "{note}; {skipped} s skipped, since this machine cannot keep up": (
        "{note}; {skipped} s ausgelassen, weil dieser Rechner nicht mitkommt"
    ),
    "{seconds} s of speech.": "{seconds} s Sprache.",
    "{seconds} s of speech: about {work} s of work ({where}).": "{seconds} s Sprache: etwa {work} s Arbeit ({where}).",
    "by the last run here": "nach dem letzten Lauf hier",
    "by the machine of the table in Learn; the first run also loads the networks": (
        "nach dem Rechner der Tabelle unter Lernen; der erste Lauf lädt auch die Netze"
    ),
    (
        "**{frames} frames**, {speed} frames/s (stages side by side: {stages}) · {model}, steps: {steps}, seed {seed} · "
        "attention density {density}, {flop} GFLOP · {device}"
    ): (
        "**{frames} Bilder**, {speed} Bilder/s (Stufen nebeneinander: {stages}) · {model}, Schritte: {steps}, Startzahl {seed} · "
        "Dichte der Aufmerksamkeit {density}, {flop} GFLOP · {device}"
    ),
    "The picture shows {count} faces; the largest one speaks": "Das Bild zeigt {count} Gesichter; das größte spricht",
    "For the same run, give again: {what}": "Für denselben Lauf noch einmal angeben: {what}",
    "the speech": "die Sprache",
    "the photo": "das Foto",
    "the movement": "die Bewegung",
    "the picture behind the person": "das Bild hinter der Person",
    "The poses go on for {seconds} s after the speech, in silence": (
        "Die Posen gehen nach der Sprache {seconds} s lang stumm weiter"
    ),
    "Input-aware sparse attention": "Aufmerksamkeit, die der Eingabe folgt",
    "your clip": "dein Clip",
    "{name} is not installed: {effect}.": "{name} ist nicht installiert: {effect}.",
    "photos as speakers and videos of people are off ({how})": "Fotos als Sprecher und Videos von Menschen gehen nicht ({how})",
    "drawn speakers and photos are off ({how})": "gezeichnete Sprecher und Fotos gehen nicht ({how})",
    "the mouth follows loudness instead of phones ({how})": "der Mund folgt der Lautstärke statt den Lauten ({how})",
    "The weights of the {name} are not in {folder}: nothing can be generated.": (
        "Die Gewichte von {name} liegen nicht in {folder}: nichts kann erzeugt werden."
    ),
    # tables and Learn
    "Measured": "Gemessen",
    "What was trained": "Was trainiert wurde",
    "Notebooks": "Notebooks",
    "From a program": "Aus einem Programm",
    "`pip install gradio_client`; started with `python app.py --mcp`, the same are MCP tools.": (
        "`pip install gradio_client`; mit `python app.py --mcp` gestartet sind dieselben auch MCP-Werkzeuge."
    ),
    "{steps} steps in {hours} h on {device}; data: {data}": "{steps} Schritte in {hours} h auf {device}; Daten: {data}",
    "procedural avatar (iasa.avatar), rendered at {size} x {same}, {fps} frames/s; no real people": (
        "gezeichneter Avatar (iasa.avatar), {size} x {same}, {fps} Bilder/s; keine wirklichen Menschen"
    ),
    "steps": "Schritte",
    "frames/s": "Bilder/s",
    "frames/s of a processor": "Bilder/s eines Prozessors",
    "seconds": "Sekunden",
    "density": "Dichte",
    "attention GFLOP": "Aufmerksamkeit, GFLOP",
    "hand detection": "Hände erkannt",
    "lip-opening r": "Lippenöffnung r",
    "exact": "genau",
    "ground truth": "Ground Truth",
    "autoencoder": "Autoencoder",
    "static reference": "unbewegtes Referenzbild",
    "warped reference": "verformtes Referenzbild",
    "{model}, steps: {steps}": "{model}, Schritte: {steps}",
    "{device}, {date}; {clips} clips of {frames} frames: {command}": (
        "{device}, {date}; {clips} Clips mit {frames} Bildern: {command}"
    ),
    "No evaluation has been stored yet ({command}).": "Noch ist keine Messung abgelegt ({command}).",
    (
        "Measured now on this machine ({device}), decoding included. Density: share of all token pairs of the clip, in "
        "each step. Quality compares with {truth}."
    ): (
        "Gerade auf diesem Rechner gemessen ({device}), mit dem Dekodieren. Dichte: Anteil aller Tokenpaare des Clips, je "
        "Schritt. Die Güte vergleicht mit {truth}."
    ),
    "the ground truth": "der Ground Truth",
    "nothing: there is no truth for this speaker": "nichts: für diesen Sprecher gibt es keine Wahrheit",
    # what is asked for
    "there is no speech; record some, upload a file or click on an example": (
        "es fehlt die Sprache; nimm etwas auf, lade eine Datei hoch oder klicke auf ein Beispiel"
    ),
    "there is no photo; upload a portrait that shows one face from the front": (
        "es fehlt das Foto; lade ein Porträt hoch, das ein Gesicht von vorn zeigt"
    ),
    "a photo may be used only with the consent of the person in it; tick the box to confirm that": (
        "ein Foto darf nur mit Einwilligung der abgebildeten Person verwendet werden; bestätige das mit dem Häkchen"
    ),
    "there is no clip yet; generate one first": "es gibt noch keinen Clip; erzeuge zuerst einen",
    "the speech is no longer kept; give it again": "die Sprache ist nicht mehr da; gib sie noch einmal an",
    "only example speakers are compared: {names}": "verglichen werden nur Beispielsprecher: {names}",
    "an mp4 cannot be transparent; take the WebM": "ein mp4 kann nicht durchsichtig sein; nimm das WebM",
    "the backdrop is {given}; {names} are accepted": "der Hintergrund ist {given}; erlaubt sind {names}",
    "there is no picture to stand behind the person; upload one or choose another backdrop": (
        "es fehlt das Bild hinter der Person; lade eines hoch oder wähle einen anderen Hintergrund"
    ),
    "the background is {given}; a colour as #rrggbb, {word} or a picture is accepted": (
        "der Hintergrund ist {given}; erlaubt ist eine Farbe als #rrggbb, {word} oder ein Bild"
    ),
    "{error}; a drawing or a cartoon can be carried as a puppet: choose {kind}": (
        "{error}; eine Zeichnung kann als Puppe bewegt werden: wähle {kind}"
    ),
    "there are no poses; make a video in the Speak tab first, or upload a pose file": (
        "es fehlen die Posen; mach zuerst unter Sprechen ein Video oder lade eine Posendatei hoch"
    ),
    "what the student attends to is recorded on a clip made here; make one in Speak first": (
        "worauf der Schüler achtet, wird an einem hier gemachten Clip aufgezeichnet; mach zuerst einen unter Sprechen"
    ),
    "the video made last is no longer kept; make another one": "das letzte Video ist nicht mehr da; mach ein neues",
    "the video holds no settings; one that was made here is needed": (
        "das Video enthält keine Einstellungen; nötig ist eines, das hier gemacht wurde"
    ),
    "the text has {count} letters; some words, up to {most} letters, are needed": (
        "der Text hat {count} Buchstaben; nötig sind ein paar Wörter, höchstens {most} Buchstaben"
    ),
    "The poses are another person's or place's: they were fitted to the speaker": (
        "Die Posen sind von jemand anderem oder von anderer Stelle: sie wurden der sprechenden Person angepasst"
    ),
    "The lips follow the poses, not the speech": "Die Lippen folgen den Posen, nicht der Sprache",
    "The poses end {seconds} s before the speech; the last one stays": (
        "Die Posen enden {seconds} s vor der Sprache; die letzte bleibt"
    ),
    "no voice here reads {language}; accepted: {known}": "keine Stimme hier liest {language}; möglich sind: {known}",
    "the number is {number}; a whole number from 0 to {most} is needed": (
        "die Zahl ist {number}; nötig ist eine ganze Zahl von 0 bis {most}"
    ),
    "{seconds} seconds are asked for; {low} to {high} are accepted": (
        "{seconds} Sekunden sind verlangt; erlaubt sind {low} bis {high}"
    ),
    "the patterns' maps are of {count} frames; the plan has {f}": (
        "die Karten der Muster umfassen {count} Bilder; der Plan hat {f}"
    ),
    "the patterns are {given}; two of {names} are accepted": "die Muster sind {given}; erlaubt sind zwei von {names}",
    "the model is {model}; accepted: {names}": "das Modell ist {model}; erlaubt: {names}",
    "the motion model is {model}; accepted: {names}": "das Bewegungsmodell ist {model}; erlaubt: {names}",
    "{steps} steps asked for; the {model} takes 1 to {most}": (
        "{steps} Schritte sind verlangt; {model} nimmt 1 bis {most}"
    ),
    "amount is {value}; {low} to {high} is accepted": "die Menge der Gesten ist {value}; erlaubt ist {low} bis {high}",
    "blink is {value}; {low} to {high} is accepted": "das Blinzeln ist {value}; erlaubt ist {low} bis {high}",
    "{name} is {value}; {low} to {high} is accepted": "{name} ist {value}; erlaubt ist {low} bis {high}",
    "there is no example speaker {name}; choose from {names}": "es gibt keinen Beispielsprecher {name}; zur Wahl stehen {names}",
    # the microphone
    "the live run broke off ({reason}); start it again": (
        "Der Live-Lauf ist abgebrochen ({reason}); starte ihn noch einmal"
    ),
    "somebody else is speaking live just now; wait a moment and try again": (
        "gerade spricht jemand anders live; warte einen Augenblick und versuche es noch einmal"
    ),
    "the recording is not WAV sound of 16 bits": "die Aufnahme ist kein WAV-Ton mit 16 Bit",
    "the recording's piece has {size} MB; at most {most} MB are accepted": (
        "das Stück der Aufnahme hat {size} MB; erlaubt sind höchstens {most} MB"
    ),
    "this speaker has finished; a new one is needed for more sound": "dieser Sprecher ist fertig; mehr Ton braucht einen neuen",
    "this speaker has finished already": "dieser Sprecher ist schon fertig",
    "the sound has shape {shape}; one channel [samples] is needed": "der Ton hat die Form {shape}; nötig ist ein Kanal",
    "the sound has {rate} samples a second; {low} to {high} are accepted": (
        "der Ton hat {rate} Abtastwerte je Sekunde; erlaubt sind {low} bis {high}"
    ),
    "the sound holds values that are not numbers": "der Ton enthält Werte, die keine Zahlen sind",
    # sound
    "{name} holds no sound; give at least {least} s of speech.": (
        "{name} enthält keinen Ton; nötig sind mindestens {least} s Sprache."
    ),
    "{name} lasts {seconds} s; give at least {least} s of speech.": (
        "{name} dauert {seconds} s; nötig sind mindestens {least} s Sprache."
    ),
    "{name} lasts {seconds} s; at most {most} s is accepted.": "{name} dauert {seconds} s; erlaubt sind höchstens {most} s.",
    "{name} holds values that are not numbers; give a sound file that plays.": (
        "{name} enthält Werte, die keine Zahlen sind; nötig ist eine Tondatei, die sich abspielen lässt."
    ),
    "{name} is silent (peak {peak} of full scale; at least {least} is needed).": (
        "{name} ist stumm (Spitze {peak} des Vollen; nötig ist mindestens {least})."
    ),
    "{name} has no sound track; a file with sound is needed": "{name} hat keine Tonspur; nötig ist eine Datei mit Ton",
    "{name} has sound in a format that cannot be decoded; accepted are {kinds}": (
        "{name} hat Ton in einem Format, das nicht gelesen werden kann; erlaubt sind {kinds}"
    ),
    "{name} has {rate} samples a second; 1,000 or more are needed": (
        "{name} hat {rate} Abtastwerte je Sekunde; nötig sind mindestens 1.000"
    ),
    "{name} is damaged: its sound cannot be decoded": "{name} ist beschädigt: der Ton kann nicht gelesen werden",
    "{name} changes its sound format half-way; it must stay the same": (
        "{name} wechselt mittendrin das Tonformat; es muss gleich bleiben"
    ),
    "{name} holds no sound (0 samples)": "{name} enthält keinen Ton (0 Abtastwerte)",
    # files, pictures, videos
    "{name} is a folder; a file is needed": "{name} ist ein Ordner; nötig ist eine Datei",
    "{name} is not a plain file": "{name} ist keine gewöhnliche Datei",
    "{name} is empty (0 bytes)": "{name} ist leer (0 Byte)",
    "{name} has {size} MB; at most {most} MB are accepted": "{name} hat {size} MB; erlaubt sind höchstens {most} MB",
    "there is no file {name}": "es gibt keine Datei {name}",
    "{name} cannot be read: {reason}": "{name} kann nicht gelesen werden: {reason}",
    "{name} is not a usable file name": "{name} ist kein brauchbarer Dateiname",
    "{name} is a playlist, not media that can be read; accepted are {kinds}": (
        "{name} ist eine Abspielliste, keine Mediendatei; erlaubt sind {kinds}"
    ),
    "{name} is not a media file that can be read; accepted are {kinds}": (
        "{name} ist keine lesbare Mediendatei; erlaubt sind {kinds}"
    ),
    "{name} is {kind} that can be read; accepted are {kinds}": "{name} ist nicht lesbar ({kind}); erlaubt sind {kinds}",
    "{name} is damaged or not really a {kind} file": "{name} ist beschädigt oder keine echte {kind}-Datei",
    "{name} takes over {most} s to decode; a simpler file is needed": (
        "{name} braucht zum Dekodieren über {most} s; nötig ist eine einfachere Datei"
    ),
    "{name} is damaged: {broken} of its {all} parts cannot be decoded": (
        "{name} ist beschädigt: {broken} von {all} Teilen können nicht gelesen werden"
    ),
    "{name} lasts {seconds} s; at most {most} s are accepted": "{name} dauert {seconds} s; erlaubt sind höchstens {most} s",
    "{name} is too long; at most {most} s are accepted": "{name} ist zu lang; erlaubt sind höchstens {most} s",
    "{name} {length}; at most {most} s are accepted": "{name}: {length}; erlaubt sind höchstens {most} s",
    "{name} has {width} x {height} pixels; at most {most} million are accepted": (
        "{name} hat {width} x {height} Bildpunkte; erlaubt sind höchstens {most} Millionen"
    ),
    "{name} is not a readable picture; accepted are {kinds}": "{name} ist kein lesbares Bild; erlaubt sind {kinds}",
    "{name} has no moving picture; accepted are {kinds}": "{name} hat kein bewegtes Bild; erlaubt sind {kinds}",
    "{name} has pictures in a format that cannot be decoded; accepted are {kinds}": (
        "{name} hat Bilder in einem Format, das nicht gelesen werden kann; erlaubt sind {kinds}"
    ),
    "{name} holds no picture that can be decoded": "{name} enthält kein Bild, das gelesen werden kann",
    "{name} takes over {most} GB when decoded ({width} x {height} pixels); a shorter or smaller video is needed": (
        "{name} braucht dekodiert über {most} GB ({width} x {height} Bildpunkte); nötig ist ein kürzeres oder kleineres Video"
    ),
    # poses
    "{name} lacks {what}; a pose file holds xy and confidence": (
        "in {name} fehlt {what}; eine Posendatei enthält xy und confidence"
    ),
    "{name} is not a pose file: an npz with xy and confidence is needed": (
        "{name} ist keine Posendatei: nötig ist ein npz mit xy und confidence"
    ),
    "{name} unpacks to {size} MB; at most {most} MB are accepted": (
        "{name} wird entpackt {size} MB groß; erlaubt sind höchstens {most} MB"
    ),
    "keypoints have shape {shape}; {wanted} is needed": "die Punkte haben die Form {shape}; nötig ist {wanted}",
    "confidences have shape {shape}; {wanted} is needed": "die Sicherheiten haben die Form {shape}; nötig ist {wanted}",
    "keypoints hold NaN or infinite values at points of confidence above 0": (
        "die Punkte enthalten NaN oder unendliche Werte, wo die Sicherheit über 0 liegt"
    ),
    "{name} holds {fps} poses a second; {wanted} are needed": "{name} enthält {fps} Posen je Sekunde; nötig sind {wanted}",
    "there are {count} poses; 1 to {most} are accepted": "es sind {count} Posen; erlaubt sind 1 bis {most}",
    "all keypoints are missing; a pose file with seen keypoints is needed": (
        "alle Punkte fehlen; nötig ist eine Posendatei mit gesehenen Punkten"
    ),
    "some keypoints lie far outside the picture; coordinates of about 0 to 1 are needed": (
        "einige Punkte liegen weit außerhalb des Bildes; nötig sind Koordinaten von etwa 0 bis 1"
    ),
    "no person is found in {name}; one who faces the camera, waist up, is needed": (
        "in {name} ist niemand zu finden; nötig ist eine Person, die in die Kamera schaut, ab der Hüfte"
    ),
    "there are no frames to find a pose in": "es gibt keine Bilder, in denen eine Pose zu suchen wäre",
    "finding poses and faces needs mediapipe with its models inside: {how}": (
        "um Posen und Gesichter zu finden, braucht es mediapipe mit seinen Modellen: {how}"
    ),
    "mediapipe cannot be loaded ({error}): {how}": "mediapipe lässt sich nicht laden ({error}): {how}",
    # photos
    "The person does not stand out from the picture, as in drawings; a puppet of it moves better": (
        "Die Person hebt sich nicht vom Bild ab, wie bei Zeichnungen; als Puppe bewegt sie sich besser"
    ),
    "Puppet of my photo": "Puppe meines Fotos",
    "the portrait is {kind}; an RGB picture of uint8 [h, w, 3] is needed": "das Porträt ist {kind}; nötig ist ein RGB-Bild",
    "the portrait has {width} x {height} pixels; {low} to {high} a side are accepted": (
        "das Porträt hat {width} x {height} Bildpunkte; erlaubt sind {low} bis {high} je Seite"
    ),
    "no face was found in the picture: a portrait is needed in which one face looks towards the camera": (
        "im Bild ist kein Gesicht zu finden: nötig ist ein Porträt, in dem ein Gesicht in die Kamera schaut"
    ),
    "a portrait needs mediapipe: {how}": "ein Porträt braucht mediapipe: {how}",
    "mediapipe {version} has no models inside: {how}": "mediapipe {version} enthält keine Modelle: {how}",
    "the face is {width} pixels wide; at least {least} are needed": (
        "das Gesicht ist {width} Bildpunkte breit; nötig sind mindestens {least}"
    ),
    # the explorer and the networks
    "there are {count} {name} for {frames} latent frames; one for each is needed": (
        "zu {frames} latenten Bildern gibt es {count} {name}; nötig ist eines für jedes"
    ),
    "the plan has {frames} latent frames; the explorer shows up to {most}": (
        "der Plan hat {frames} latente Bilder; der Erkunder zeigt bis zu {most}"
    ),
    "the attention is of {count} frames; the plan has {frames}": (
        "die Aufmerksamkeit gehört zu {count} Bildern; der Plan hat {frames}"
    ),
    "the clip has {frames} latent frames; attention is recorded of up to {most}": (
        "der Clip hat {frames} latente Bilder; Aufmerksamkeit wird bei bis zu {most} aufgezeichnet"
    ),
    "the tokens to compute are {compute}; accepted: {names}": "zu berechnen sind die Token {compute}; erlaubt: {names}",
    "only the student under its own attention computes moving tokens alone; compute all instead": (
        "nur der Schüler mit seiner eigenen Aufmerksamkeit berechnet bewegte Token allein; bitte alle berechnen"
    ),
    "the layers are warped without denoising steps; leave the steps out": (
        "die Ebenen werden ohne Schritte verformt; die Schritte weglassen"
    ),
    "{name} is damaged: its pictures cannot be converted to RGB": (
        "{name} ist beschädigt: die Bilder lassen sich nicht in RGB umrechnen"
    ),
    "{fps} frames a second are asked for; above 0 and below 1000 are accepted": (
        "{fps} Bilder je Sekunde sind verlangt; erlaubt ist über 0 und unter 1000"
    ),
    "the picture is {kind} {shape}; uint8 [H, W, 3] is needed": "das Bild ist {kind} {shape}; nötig ist uint8 [H, W, 3]",
    "the explorer shows plans of single frames of square pictures with at most one reference": (
        "der Explorer zeigt Pläne einzelner, quadratischer Bilder mit höchstens einem Referenzbild"
    ),
    "no face was found in the picture: one that looks towards the camera is needed": (
        "im Bild wurde kein Gesicht gefunden: nötig ist eines, das in die Kamera blickt"
    ),
    "face {number} was asked for; the picture shows {count}, counted from the left and from 1": (
        "Gesicht {number} ist verlangt; das Bild zeigt {count}, von links und ab 1 gezählt"
    ),
    "the face is cut off by the picture's edge; one that is wholly in the picture is needed": (
        "der Bildrand schneidet das Gesicht ab; nötig ist eines, das ganz im Bild ist"
    ),
    "framing is {framing}; {names} are accepted": "der Ausschnitt ist {framing}; erlaubt sind {names}",
    "{name} has {channels} channels; at most {most} are accepted": (
        "{name} hat {channels} Kanäle; erlaubt sind höchstens {most}"
    ),
    "{name} is an AVIF picture, which needs a newer Pillow: {how}": (
        "{name} ist ein AVIF-Bild; dafür ist ein neueres Pillow nötig: {how}"
    ),
    "{name} is a HEIC picture, which needs pillow-heif: {how}": "{name} ist ein HEIC-Bild; dafür ist pillow-heif nötig: {how}",
    "the {model} is not loaded; this pipeline holds {names}": "{model} ist nicht geladen; vorhanden: {names}",
    # what moves in a photograph
    "head, face and shoulders move": "Kopf, Gesicht und Schultern bewegen sich",
    "head, face, shoulders and {side} hand move": "Kopf, Gesicht, Schultern und die {side} Hand bewegen sich",
    "head, face, shoulders, left hand and right hand move": "Kopf, Gesicht, Schultern und beide Hände bewegen sich",
    "the {side} hand keeps still ({why})": "die {side} Hand hält still ({why})",
    "no {side} hand was found, so that arm keeps to the trunk": (
        "die {side} Hand wurde nicht gefunden, darum bleibt der Arm am Rumpf"
    ),
    "no hands were found, so the arms keep to the trunk": "Hände wurden nicht gefunden, darum bleiben die Arme am Rumpf",
    "the eyes stay closed, as they are in the picture": "die Augen bleiben zu, wie sie auf dem Bild sind",
    "left": "linke",
    "right": "rechte",
    "closed, as around a thing": "geschlossen, wie um einen Gegenstand",
    "before the face": "vor dem Gesicht",
    "cut off": "vom Bildrand abgeschnitten",
    # content credentials
    "content credentials need both {certificate} and {key}": "Herkunftsnachweise brauchen {certificate} und {key}",
    "content credentials need the library c2pa: {how}": "Herkunftsnachweise brauchen die Bibliothek c2pa: {how}",
    "the content credentials cannot be signed: {error}": "die Herkunftsnachweise lassen sich nicht unterschreiben: {error}",
}


@functools.cache
def _patterns() -> list[tuple[re.Pattern, str]]:
    """Sentences with places in them, those with the most fixed letters first, so that the closest one answers."""
    found = []
    for english, german in sorted(GERMAN.items(), key=lambda pair: -len(re.sub(r"\{\w+\}", "", pair[0]))):
        if "{" in english:
            pieces = re.split(r"\{(\w+)\}", english)
            text = "".join(f"(?P<{p}>.+?)" if i % 2 else re.escape(p) for i, p in enumerate(pieces))
            found.append((re.compile(text, re.DOTALL), german))
    return found


def to_sentence(text: str, language: str) -> str:
    """`translate`, beginning with a capital; a file's name at the beginning stays as it is."""
    text = translate(text, language)
    return text[0].upper() + text[1:] if re.match(r"[^\W\d_]+[ ,;]", text) else text


def translate(text: str, language: str) -> str:
    """The English `text` in the language ("en" or "de"); what stands in a sentence's places is translated too if known."""
    if language != "de":
        return text
    if text in GERMAN:
        return GERMAN[text]
    for pattern, german in _patterns():
        match = pattern.fullmatch(text)
        if match:
            return german.format(**{name: translate(value, language) for name, value in match.groupdict().items()})
    return text

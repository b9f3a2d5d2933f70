"""Content credentials (C2PA): a signed statement inside the mp4 that a program made it; the key is the operator's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from iasa.config import InputError
from iasa.files import atomic_write, display_name
from iasa.media.metadata import AI_SOURCE

# Environment variables that name PEM files: the certificates, the signer's first, and the private key (ES256).
CERTIFICATE, KEY = "IASA_C2PA_CERTIFICATE", "IASA_C2PA_KEY"
INSTALL = "pip install c2pa-python"
FORMATS = {".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp", ".png": "image/png"}


def sign_if_asked(path: str | os.PathLike) -> bool:
    """Sign the file if the environment names a certificate and a key; whether it did. Raises InputError.

    A webm and a folder of frames stay unsigned: C2PA has no place in them.
    """
    certificate, key = os.environ.get(CERTIFICATE), os.environ.get(KEY)
    if not certificate and not key:
        return False
    if not certificate or not key:
        raise InputError("content credentials need both {certificate} and {key}", certificate=CERTIFICATE, key=KEY)
    if Path(path).suffix.lower() not in FORMATS:
        return False
    sign_video(path, certificate, key)
    return True


def sign_video(path: str | os.PathLike, certificate: str | os.PathLike, key: str | os.PathLike) -> None:
    """Put a signed manifest into the file: created by a program, from a trained model. Raises InputError."""
    try:
        import c2pa
    except ModuleNotFoundError as error:
        raise InputError("content credentials need the library c2pa: {how}", how=INSTALL) from error
    manifest = {
        "claim_generator_info": [{"name": "IASA"}],
        "title": display_name(path),
        "format": FORMATS[Path(path).suffix.lower()],
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": AI_SOURCE}]},
            }
        ],
    }
    try:
        chain, secret = (Path(pem).read_bytes() for pem in (certificate, key))
    except OSError as error:
        raise InputError("{name}: {reason}", name=error.filename, reason=error.strerror) from error
    try:
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(b"es256", chain, secret, None)
        )  # without a time stamp's server
        with atomic_write(path) as partial:
            c2pa.Builder(json.dumps(manifest)).sign_file(Path(path), partial, signer)
    except c2pa.C2paError as error:
        raise InputError("the content credentials cannot be signed: {error}", error=str(error)) from error

"""Content credentials: a certificate made here signs a video, a reader finds the statement, a changed file is noticed."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest

from iasa.config import InputError
from iasa.media import content_credentials as credentials
from iasa.media.metadata import AI_SOURCE
from iasa.media.reader import read_video
from iasa.media.writer import write_video

c2pa = pytest.importorskip("c2pa", reason=f"content credentials are optional: {credentials.INSTALL}")


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A certificate authority and a signer of its own: (certificates, key) as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")])
        for n in ("Test authority", "Test signer")
    ]
    usage = dict(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = []
    for subject, key, is_authority in zip(names, keys, (True, False), strict=True):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject).issuer_name(names[0]).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, key_cert_sign=is_authority, crl_sign=is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
        )  # fmt: skip
        if not is_authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    folder = tmp_path_factory.mktemp("pems")
    (folder / "chain.pem").write_bytes(made[1] + made[0])
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "chain.pem", folder / "key.pem"


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, np.full((5, 64, 64, 3), 90, np.uint8))
    return path


def read_manifest(path) -> dict:
    with open(path, "rb") as file:
        return json.loads(c2pa.Reader("video/mp4", file).json())


def test_a_signed_video_says_that_a_program_made_it(video, pems, monkeypatch):
    before = read_video(video)[0]
    monkeypatch.setenv(credentials.CERTIFICATE, str(pems[0]))
    monkeypatch.setenv(credentials.KEY, str(pems[1]))
    assert credentials.sign_if_asked(video)
    found = read_manifest(video)
    assert AI_SOURCE in json.dumps(found) and found["validation_state"] in ("Valid", "Trusted")
    np.testing.assert_array_equal(read_video(video)[0], before)
    assert [path.name for path in video.parent.iterdir()] == ["video.mp4"]
    data = bytearray(video.read_bytes())
    data[-30] ^= 0xFF
    video.write_bytes(data)
    assert read_manifest(video)["validation_state"] == "Invalid"


def test_nothing_is_signed_unasked_and_slips_are_named(video, pems, monkeypatch, tmp_path):
    for name in (credentials.CERTIFICATE, credentials.KEY):
        monkeypatch.delenv(name, raising=False)
    data = video.read_bytes()
    assert not credentials.sign_if_asked(video) and video.read_bytes() == data
    monkeypatch.setenv(credentials.KEY, str(pems[1]))
    with pytest.raises(InputError, match="need both"):
        credentials.sign_if_asked(video)
    with pytest.raises(InputError, match="No such file"):
        credentials.sign_video(video, tmp_path / "none.pem", pems[1])
    with pytest.raises(InputError, match="cannot be signed"):
        credentials.sign_video(video, pems[1], pems[0])
    assert video.read_bytes() == data and [path.name for path in tmp_path.iterdir()] == ["video.mp4"]

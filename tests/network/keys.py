"""Keys of accounts: what the owner of a DID signs by hand. Source: https://atproto.com/specs/cryptography"""

import base64

import libipld
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_SECP256K1 = b"\xe7\x01"  # multicodec table, "secp256k1-pub", as a varint


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key of the curve secp256k1."""
    return ec.generate_private_key(ec.SECP256K1())


def multikey(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half, as a DID document has it; ``did:key:`` before it makes the DID of the key."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return libipld.encode_multibase("z", _SECP256K1 + point)


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> str:
    """A signature in base64url, of the lower of the two values that it may have."""
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    low = min(s, _ORDER - s)
    return base64.urlsafe_b64encode(r.to_bytes(32, "big") + low.to_bytes(32, "big")).rstrip(b"=").decode()

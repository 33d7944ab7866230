"""Derives the device key and the log seed of the seed 00 01 ... 1f."""
import hashlib
import hmac

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def hkdf(seed: bytes, info: bytes, size: int) -> bytes:
    prk = hmac.new(b"agentkeys/v1/device", seed, hashlib.sha256).digest()
    out, block, n = b"", b"", 1
    while len(out) < size:
        block = hmac.new(prk, block + info + bytes([n]), hashlib.sha256).digest()
        out, n = out + block, n + 1
    return out[:size]


SEED = bytes(range(32))
print("%064x" % (int.from_bytes(hkdf(SEED, b"p256", 48), "big") % (N - 1) + 1))
print(hkdf(SEED, b"audit log", 32).hex())

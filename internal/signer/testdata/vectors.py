#!/usr/bin/env python3
"""Computes the signer's test vectors from nothing but the standard library.

An implementation apart from the Go one: where the two agree, the text of the
format is enough to build a third. `vectors.py` prints what vectors.json holds.
"""
import hashlib
import hmac
import json
import struct

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    (x1, y1), (x2, y2) = a, b
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    if a == b:
        m = 3 * x1 * x1 * pow(2 * y1, -1, P)
    else:
        m = (y2 - y1) * pow(x2 - x1, -1, P)
    x = (m * m - x1 - x2) % P
    return x, (m * (x1 - x) - y1) % P


def mul(k, p):
    r = None
    while k:
        if k & 1:
            r = add(r, p)
        p, k = add(p, p), k >> 1
    return r


def rol(x, n):
    n %= 64
    return ((x << n) | (x >> (64 - n))) & (2**64 - 1) if n else x


def keccak_f(a):
    r = 1
    for _ in range(24):
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[(x + 4) % 5] ^ rol(c[(x + 1) % 5], 1) for x in range(5)]
        a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
        x, y, cur = 1, 0, a[1][0]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            cur, a[x][y] = a[x][y], rol(cur, (t + 1) * (t + 2) // 2)
        for y in range(5):
            t = [a[x][y] for x in range(5)]
            for x in range(5):
                a[x][y] = t[x] ^ (~t[(x + 1) % 5] & t[(x + 2) % 5])
        for j in range(7):
            r = ((r << 1) ^ ((r >> 7) * 0x71)) % 256
            if r & 2:
                a[0][0] ^= 1 << ((1 << j) - 1)
    return a


def keccak256(data):
    """Legacy Keccak: padding byte 0x01, where SHA-3 has 0x06."""
    rate = 136
    data += b"\x01" + bytes(-(len(data) + 1) % rate)
    data = data[:-1] + bytes([data[-1] | 0x80])
    a = [[0] * 5 for _ in range(5)]
    for o in range(0, len(data), rate):
        for i in range(rate // 8):
            a[i % 5][i // 5] ^= struct.unpack_from("<Q", data, o + 8 * i)[0]
        a = keccak_f(a)
    return b"".join(struct.pack("<Q", a[i % 5][i // 5]) for i in range(4))


def lp(x):
    return struct.pack(">I", len(x)) + x


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(key, salt, info, n):
    prk, out, t, i = mac(salt, key), b"", b"", 1
    while len(out) < n:
        t = mac(prk, t + info + bytes([i]))
        out, i = out + t, i + 1
    return out[:n]


def wallet(identity, account, path):
    okm = hkdf(identity, b"agentkeys/v1/wallet", lp(account.encode()) + lp(path.encode()), 48)
    k = int.from_bytes(okm, "big") % N
    assert k
    x, y = mul(k, G)
    return keccak256(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[12:]


def checksum(addr):
    h, s = keccak256(addr.hex().encode()).hex(), addr.hex()
    return "0x" + "".join(c.upper() if int(n, 16) > 7 else c for c, n in zip(s, h))


def root(label):
    return hashlib.sha256(b"agentkeys test root " + label.encode()).digest()


def main():
    out = {"wallets": [], "keks": [], "log_seeds": []}
    accounts = ["0", "2c9a77be0a3f4d0ea5a3c6c1f7e0b1d2", "a-b", "x" * 63]
    paths = ["", "//coder", "//a", "//0-", "//" + "z" * 63]
    for i in range(4):
        identity = root(f"identity {i}")
        for account in accounts:
            for path in paths:
                w = wallet(identity, account, path)
                out["wallets"].append({
                    "identity": identity.hex(), "account": account, "path": path,
                    "wallet": "0x" + w.hex(), "checksum": checksum(w),
                })
            seed = hkdf(identity, b"agentkeys/v1/audit", lp(account.encode()), 32)
            out["log_seeds"].append({"identity": identity.hex(), "account": account, "seed": seed.hex()})
    services = ["openrouter", "brave-search", "0", "s" * 63]
    for epoch in (1, 2, 255, 256, 2**32 - 1):
        sealing = root(f"sealing {epoch}")
        for v in out["wallets"][:5]:
            for service in services:
                w = bytes.fromhex(v["wallet"][2:])
                kek = mac(sealing, b"agentkeys/v1/kek" + lp(w) + lp(service.encode()))
                out["keks"].append({
                    "sealing": sealing.hex(), "epoch": epoch, "wallet": v["wallet"],
                    "service": service, "kek": kek.hex(),
                })
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    main()

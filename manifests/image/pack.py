#!/usr/bin/env python3
"""Packs files into an OCI image archive, reproducibly and without a builder.

pack.py --name docker.io/lumoauth/lumoauth:1.2.3 --out lumoauth.tar --entrypoint /lumoauth --user 65532:65532 \\
        --static --account lumoauth --ca-certificates /etc/ssl/certs/ca-certificates.crt target/.../lumoauth=/lumoauth
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import struct
import sys
import tarfile

PT_INTERP = 3
ELF_ARCHITECTURES = {62: "amd64", 183: "arm64"}
CA_PATH = "etc/ssl/certs/ca-certificates.crt"


def read_elf(path):
    """Returns (architecture, is static) of a 64-bit little-endian ELF program."""
    with open(path, "rb") as f:
        head = f.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            sys.exit(f"{path} is no 64-bit little-endian ELF program: build it for a Linux musl target")
        machine = struct.unpack_from("<H", head, 18)[0]
        (offset,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        f.seek(offset)
        headers = f.read(size * count)
    types = [struct.unpack_from("<I", headers, i * size)[0] for i in range(count)]
    if machine not in ELF_ARCHITECTURES:
        sys.exit(f"{path} is for machine {machine}: only amd64 and arm64 are known here")
    return ELF_ARCHITECTURES[machine], PT_INTERP not in types


def tar(entries):
    """Returns a tar of {path: (mode, content or None for a directory)}: sorted, no times, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(entries):
            mode, content = entries[path]
            info = tarfile.TarInfo(path)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def with_parents(files):
    """Adds the directories that hold the files."""
    entries = dict(files)
    for path in files:
        while path := os.path.dirname(path):
            entries[path] = (0o755, None)
    return entries


def encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def image(name, layer, config, architecture, compress):
    """Returns the entries of an OCI archive that holds one image of one layer."""
    blobs = {}

    def blob(media_type, content):
        digest = hashlib.sha256(content).hexdigest()
        blobs["blobs/sha256/" + digest] = (0o644, content)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    oci = "application/vnd.oci.image."
    if compress:
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as f:
            f.write(layer)
        layer_blob = blob(oci + "layer.v1.tar+gzip", packed.getvalue())
    else:
        layer_blob = blob(oci + "layer.v1.tar", layer)
    platform = {"architecture": architecture, "os": "linux"}
    config_blob = blob(oci + "config.v1+json", encode({
        **platform, "created": "1970-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }))
    manifest = blob(oci + "manifest.v1+json", encode({
        "schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config_blob, "layers": [layer_blob],
    }))
    manifest["platform"] = platform
    # The first annotation is what containerd reads, the second what the OCI layout knows.
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
    index = {"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": [manifest]}
    return with_parents({
        **blobs,
        "index.json": (0o644, encode(index)),
        "oci-layout": (0o644, encode({"imageLayoutVersion": "1.0.0"})),
    })


def main():
    parser = argparse.ArgumentParser(description="Packs files into an OCI image archive.")
    parser.add_argument("--name", required=True, help="full name of the image with its tag")
    parser.add_argument("--out", required=True, help="archive to write")
    parser.add_argument("--entrypoint", required=True, help="path of the program in the image")
    parser.add_argument("--user", required=True, metavar="UID:GID", help="numeric user and group it runs as")
    parser.add_argument("--account", help="name of that user in /etc/passwd; without it there is no /etc/passwd")
    parser.add_argument("--ca-certificates", metavar="FILE", help="bundle to put at /" + CA_PATH)
    parser.add_argument("--static", action="store_true", help="refuse a program that needs a dynamic loader")
    parser.add_argument("--compress", action="store_true", help="gzip the layer")
    parser.add_argument("files", nargs="+", metavar="FILE=PATH", help="file to put at a path of the image, mode 755")
    args = parser.parse_args()

    uid, colon, gid = args.user.partition(":")
    if not (colon and uid.isdigit() and gid.isdigit()):
        parser.error("--user must be UID:GID in digits, so that Kubernetes can see that it is not root")
    if ":" not in args.name.rsplit("/", 1)[-1]:
        parser.error("--name must end in a tag")
    files = {}
    architectures = set()
    for item in args.files:
        source, equals, path = item.rpartition("=")
        if not equals or not path.startswith("/"):
            parser.error(f"{item} is not of the form FILE=/PATH")
        architecture, static = read_elf(source)
        if args.static and not static:
            sys.exit(f"{source} needs a dynamic loader, which the image does not have: build it for a musl target")
        architectures.add(architecture)
        with open(source, "rb") as f:
            files[path.lstrip("/")] = (0o755, f.read())
    if len(architectures) != 1:
        sys.exit("the programs are for different architectures: " + ", ".join(sorted(architectures)))
    if args.entrypoint.lstrip("/") not in files:
        parser.error(f"--entrypoint {args.entrypoint} is none of the files")
    # `kubectl exec POD -- NAME` looks for programs in PATH.
    path = "PATH=" + os.path.dirname(args.entrypoint)
    config = {"Entrypoint": [args.entrypoint], "Env": [path], "User": args.user, "WorkingDir": "/"}
    if args.account:
        accounts = f"root:x:0:0:root:/:/sbin/nologin\n{args.account}:x:{uid}:{gid}::/:/sbin/nologin\n"
        files["etc/passwd"] = (0o644, accounts.encode())
    if args.ca_certificates:
        try:
            with open(args.ca_certificates, "rb") as f:
                files[CA_PATH] = (0o644, f.read())
        except FileNotFoundError:
            sys.exit(f"{args.ca_certificates} does not exist: install the package ca-certificates")

    archive = tar(image(args.name, tar(with_parents(files)), config, architectures.pop(), args.compress))
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    with open(args.out + ".new", "wb") as f:
        f.write(archive)
    os.replace(args.out + ".new", args.out)


if __name__ == "__main__":
    main()

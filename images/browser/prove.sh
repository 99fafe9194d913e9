#!/bin/sh
# The image's steps without a container engine: the same script and the same handler in a Debian root
# made by debootstrap, below .local and removed in the end. As root.
set -eu
[ "$(id -u)" = 0 ] || { echo "error: only root can make a Debian root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "error: apt install debootstrap" >&2; exit 1; }
here=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$here/.local"
root=$(mktemp -d "$here/.local/image-XXXXXX")
suite=$(sed -n 's/^FROM debian:\([a-z]*\)-slim$/\1/p' "$here/images/browser/Dockerfile")

clean() {
    # Neither is there when an early step fails.
    umount "$root/proc" "$root/dev/shm" 2>/dev/null || true
    rm -rf --one-file-system "$root" "$root.log"
}
trap clean EXIT
chmod 755 "$root"
debootstrap --variant=minbase "$suite" "$root" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
# How this machine reaches Debian and PyPI, where it is told so by files.
mkdir -p "$root/etc/ssl"
for file in /etc/pip.conf /etc/apt/apt.conf.d /etc/resolv.conf /etc/ssl/certs; do
    [ ! -e "$file" ] || cp -rL "$file" "$root$(dirname "$file")/"
done
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev/shm"

mkdir -p "$root/tmp/image" "$root/var/task/functions"
cp "$here/images/browser/install.sh" "$here/images/browser/requirements.txt" "$root/tmp/image/"
chroot "$root" sh /tmp/image/install.sh /tmp/image/requirements.txt
cp -r "$here/layers/common/python/servicekit" "$here/contracts" "$here/images/browser/smoke.py" \
    "$root/var/task/"
cp "$here/functions/__init__.py" "$root/var/task/functions/"
cp -r "$here/functions/browser_worker" "$root/var/task/functions/"
chmod -R a+rX "$root/var/task"
chroot --userspec=nobody "$root" env -i PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 \
    PYTHONPATH=/var/task:/opt/python PYTHONDONTWRITEBYTECODE=1 \
    CHROMIUM_PATH=/usr/bin/chromium-headless-shell python3 /var/task/smoke.py
du -sm "$root/opt/python" "$root/usr" | sed 's/^/MB: /'

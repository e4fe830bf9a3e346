#!/usr/bin/env bash
# Makes the images that the Dockerfile begins with, where no registry is to be had: Debian's own packages (mmdebstrap), and in the one that builds this machine's Rust, installed as
# rustup does it in the official image. They have the official images' names and less in them.
# Usage: scripts/image-bases.sh [--debian]   (prints the name of Debian's; --debian makes no other)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/containers.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -r rust debian < <(sed -n 's/^FROM \([^ ]*\).*/docker.io\/library\/\1/p' Dockerfile | paste -sd ' ')
suite=${debian##*:} suite=${suite%-slim} version=${rust##*:} version=${version%%-*}

if ! "${buildah[@]}" inspect --type image "$debian" >/dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase "$suite" "$work/debian.tar"
  container=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add --quiet "$container" "$work/debian.tar" / >/dev/null
  "${buildah[@]}" config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd bash "$container"
  "${buildah[@]}" commit --quiet --rm "$container" "$debian" >/dev/null
fi

echo "$debian"
if [ "${1:-}" = --debian ] || "${buildah[@]}" inspect --type image "$rust" >/dev/null 2>&1; then
  exit 0
fi
for toolchain in "$version.0" stable; do
  case "$(RUSTUP_AUTO_INSTALL=0 rustc "+$toolchain" --version 2>/dev/null)" in
    "rustc $version."*) sysroot=$(rustc "+$toolchain" --print sysroot); break ;;
  esac
done
[ "${sysroot:-}" ] || { echo "no Rust $version is installed here by rustup" >&2; exit 1; }
home="toolchains/$version.0-$(rustc -vV | sed -n 's/^host: //p')"
mkdir -p "$work/rustup/$home" "$work/cargo/bin"
tar -C "$sysroot" --exclude=share/doc --exclude=share/man -cf - . | tar -C "$work/rustup/$home" -xf -
cp "$(command -v rustup)" "$work/cargo/bin/rustup"
for tool in cargo rustc; do ln "$work/cargo/bin/rustup" "$work/cargo/bin/$tool"; done
printf 'version = "12"\ndefault_toolchain = "%s"\n' "${home#*/}" > "$work/rustup/settings.toml"
container=$("${buildah[@]}" from "$debian")
"${buildah[@]}" run --isolation chroot "$container" sh -c 'apt-get update -q && apt-get install -qy --no-install-recommends ca-certificates curl g++ git make' >/dev/null
"${buildah[@]}" copy --quiet "$container" "$work/rustup" /usr/local/rustup >/dev/null
"${buildah[@]}" copy --quiet "$container" "$work/cargo" /usr/local/cargo >/dev/null
"${buildah[@]}" config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
"${buildah[@]}" commit --quiet --rm "$container" "$rust" >/dev/null

# shellcheck shell=bash
# Real publisher clients, installed below $HALLMARK_CI_CACHE/publisher: the libraries in a venv of this machine's
# Python, and snapcraft 4.8.1 on the Python 3.9 of Debian 11, unpacked beside the system. Sourced after prepare.sh.

publisher_pip=24.0 publisher_setuptools=65.7.0 publisher_wheel=0.43.0

# publisher_packages: what the publisher suites run besides.
publisher_packages() {
  install_packages expect git gnupg squashfs-tools xdelta3
  # Debian's python3 comes without what makes a venv.
  if ! python3 -c 'import ensurepip' 2>/dev/null; then install_packages python3-venv; fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    { echo 'error: cannot install the publisher libraries: they need Python 3.10 or later' >&2 && return 1; }
}

# made FOLDER VERSION COMMAND...: runs COMMAND, which fills FOLDER, unless that was done for this VERSION of it.
made() {
  local folder=$1 version=$2 lock log
  shift 2
  mkdir -p "${folder%/*}"
  exec {lock}>"$folder.lock"
  flock "$lock"
  if [ "$(cat "$folder/made" 2>/dev/null)" != "$version" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    log=$folder.log
    # In a process of its own: `set -e` holds there, and a failure is shown with what led to it.
    if ! bash -c 'set -euo pipefail; . "$1/lib.sh"; . "$1/prepare.sh"; . "$1/publisher/install.sh"; shift; "$@"' \
      made "$here" "$@" >"$log" 2>&1; then
      echo "error: cannot install ${folder##*/}:" >&2
      tail -n 30 "$log" >&2
      return 1
    fi
    echo "$version" >"$folder/made"
  fi
  exec {lock}>&-
}

# publisher_libraries: prints the Python that has craft-store, canonicalwebteam.store-api and surl.
publisher_libraries() {
  local folder=$HALLMARK_CI_CACHE/publisher/libraries
  made "$folder" "$(sha256sum <"$here/publisher/libraries.txt") $(python3 --version)" make_libraries "$folder" || return 1
  echo "$folder/venv/bin/python"
}
make_libraries() {
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install --disable-pip-version-check --no-deps --requirement "$here/publisher/libraries.txt"
  "$1/venv/bin/python" -c 'import craft_store, keyrings.alt.file, surl, canonicalwebteam.store_api.publishergw'
}

# publisher_snapcraft: prints the command.
publisher_snapcraft() {
  local folder=$HALLMARK_CI_CACHE/publisher/snapcraft libraries
  libraries=$(publisher_libraries) || return 1
  made "$folder" "$(cat "$here"/publisher/{snapcraft.txt,install.sh} | sha256sum)" make_snapcraft "$folder" "$libraries" ||
    return 1
  echo "$folder/snapcraft"
}
make_snapcraft() {
  local folder=$1 libraries=$2 python site
  make_python "$folder/python"
  python=$folder/python/run
  "$python" -m venv --without-pip "$folder/venv"
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$(echo "$folder"/python/usr/lib/*-linux-gnu)" \
    "$folder/venv/bin/python" >"$folder/run"
  chmod +x "$folder/run"
  # That Python has no pip; the other one fetches it.
  "$libraries" -m pip download --quiet --no-deps --dest "$folder/wheels" "pip==$publisher_pip"
  "$folder/run" "$(echo "$folder"/wheels/pip-*.whl)/pip" install --disable-pip-version-check \
    "pip==$publisher_pip" "setuptools==$publisher_setuptools" "wheel==$publisher_wheel"
  # The setup of snapcraft asks git for its version, in the folder it is unpacked into.
  mkdir "$folder/git"
  git -C "$folder/git" init --quiet
  git -C "$folder/git" -c user.name=tests -c user.email=tests@example.com commit --quiet --allow-empty --message tests
  git -C "$folder/git" -c user.name=tests -c user.email=tests@example.com tag --annotate --message 4.8.1 4.8.1
  TMPDIR=$folder/git "$folder/run" -m pip install --disable-pip-version-check --no-build-isolation --no-deps \
    --requirement "$here/publisher/snapcraft.txt"
  site=$(echo "$folder"/venv/lib/python3*/site-packages)
  # It looks at start whether all it asked for is there: see snapcraft.txt for what is not.
  sed -i -E '/^Requires-Dist: (pysha3|pyyaml)\b/d' "$site"/snapcraft-4.8.1*/METADATA
  # What it builds snaps with; commands for the store only import it.
  printf 'class Package: pass\nclass Cache: pass\n' >"$site/apt.py"
  printf '#!/bin/sh\nexec %s %s "$@"\n' "$folder/run" "$folder/venv/bin/snapcraft" >"$folder/snapcraft"
  chmod +x "$folder/snapcraft"
  HOME=$folder "$folder/snapcraft" --version >"$folder/version"
  cat "$folder/version"
  grep -qx 'snapcraft, version 4.8.1' "$folder/version"
}

# make_python FOLDER: Python 3.9 with the libraries it needs that Debian 12 no longer has; FOLDER/run starts it.
make_python() {
  local folder=$1 deb
  mkdir -p "$folder/deb"
  # apt must not see what is installed here: it would look for those versions.
  if (cd "$folder/deb" && debian bullseye -o Dir::State::status=/dev/null download python3.9-minimal \
    libpython3.9-minimal libpython3.9-stdlib python3-distutils python3-lib2to3 libssl1.1 libffi7 libmpdec3); then
    for deb in "$folder"/deb/*.deb; do dpkg -x "$deb" "$folder"; done
    rm -r "$folder/deb"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$(echo "$folder"/usr/lib/*-linux-gnu)" \
      "$folder/usr/bin/python3.9" >"$folder/run"
  else
    # Debian 11 leaves the archive one day.
    echo 'note: no Python 3.9 from Debian 11; is there one on this machine?'
    printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v python3.9)" >"$folder/run"
  fi
  chmod +x "$folder/run"
  "$folder/run" -c 'import ctypes, decimal, sqlite3, ssl, venv, distutils.core'
}

# shellcheck shell=bash
# Everything the client suites need from outside: Debian packages, and two snapd versions unpacked beside the
# system. Sourced. Nothing of snapd is installed. Downloads are kept in $HALLMARK_CI_CACHE.

# The oldest snapd in wide use, and the newest there is. Suites name them by these words.
#   old: Debian 12, 2.57.6    new: Debian unstable (2.77 or later), as long as its programs start here, else Debian 13
snapd_suite() {
  case $1 in
    old) echo bookworm ;;
    new)
      local suite chosen=$HALLMARK_CI_CACHE/debian/newest
      if [ ! -s "$chosen" ]; then
        for suite in sid trixie; do
          if starts_here "$(unpacked "$suite" snapd usr/lib/snapd/snapd)"; then
            echo "$suite" >"$chosen"
            break
          fi
          echo "note: snapd of Debian $suite does not start on this system" >&2
        done
      fi
      cat "$chosen"
      ;;
  esac
}

# starts_here TREE: the programs of an unpacked snapd find their libraries.
starts_here() {
  SNAP_REEXEC=0 timeout 30 "$1/usr/bin/snap" version >/dev/null 2>&1 &&
    ! ldd "$1/usr/lib/snapd/snapd" 2>&1 | grep 'not found' >&2
}

# install_packages PACKAGE...: those that are missing.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  echo "installing ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive apt_quietly install --yes --no-install-recommends "${missing[@]}"
}

# apt_quietly ARGUMENTS...: apt-get, with its lists brought up to date once, its output shown on failure only.
apt_updated=''
apt_quietly() {
  local log
  log=$(mktemp)
  if [ -z "$apt_updated" ]; then
    apt-get update >"$log" 2>&1 || { cat "$log" >&2 && return 1; }
    apt_updated=yes
  fi
  apt-get "$@" </dev/null >"$log" 2>&1 || { cat "$log" >&2 && return 1; }
  rm -f "$log"
}

# client_packages: what the suites run besides hallmark.
client_packages() {
  install_packages systemd systemd-container dbus iproute2 util-linux squashfs-tools squashfuse fuse3 \
    busybox-static gnupg libseccomp2 libapparmor1 ca-certificates procps curl xdelta3
  command -v python3 >/dev/null || install_packages python3-minimal
  command -v go >/dev/null || install_packages golang-go
}

# prometheus_tool: promtool, which checks rules and metrics; not installed, since its package would start Prometheus.
prometheus_tool() { echo "$(unpacked bookworm prometheus usr/bin/promtool)/usr/bin/promtool"; }

# hardware_packages: the token of the suite of keys in hardware, and tools that look into it.
hardware_packages() {
  install_packages softhsm2 opensc
  [ -n "$(softhsm_module)" ] || { echo 'error: cannot find libsofthsm2.so of the package softhsm2' >&2 && return 1; }
}

# softhsm_module: the library of SoftHSM2.
softhsm_module() { dpkg-query --listfiles libsofthsm2 2>/dev/null | grep '/libsofthsm2\.so$' | head -n 1; }

# web_packages: what the suite of the pages runs besides.
web_packages() {
  install_packages chromium fonts-dejavu-core
  command -v node >/dev/null || install_packages nodejs
  command -v npm >/dev/null || install_packages npm
}

# browser_tools: the folder of the program that drives the browser, with its packages in the versions of the lock file.
browser_tools() {
  local folder=$HALLMARK_CI_CACHE/web-tools lock
  mkdir -p "$folder"
  exec {lock}>"$folder.lock"
  flock "$lock"
  (
    cp "$here"/web/*.mjs "$here"/web/package.json "$folder/"
    cd "$folder" || exit 1
    if ! cmp --silent "$here/web/package-lock.json" installed.json; then
      cp "$here/web/package-lock.json" package-lock.json
      npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1 || { cat npm.log >&2 && exit 1; }
      cp "$here/web/package-lock.json" installed.json
    fi
  ) || return 1
  exec {lock}>&-
  echo "$folder"
}

# snapd_tree old|new: unpacks the snapd package, prints its folder.
snapd_tree() { unpacked "$(snapd_suite "$1")" snapd usr/lib/snapd/snapd; }

# snapd_source old|new: unpacks snapd's Go library, prints the folder of the module.
snapd_source() {
  local folder
  folder=$(unpacked "$(snapd_suite "$1")" golang-github-snapcore-snapd-dev \
    usr/share/gocode/src/github.com/snapcore/snapd/go.mod)
  echo "$folder/usr/share/gocode/src/github.com/snapcore/snapd"
}

# library_programs old|new: builds the programs of library/ with that release of snapd, prints their folder. The first
# call must be made where modules can be had.
library_programs() {
  local version=$1 folder=$HALLMARK_CI_CACHE/library/$1 lock
  mkdir -p "$folder"
  exec {lock}>"$folder.lock"
  flock "$lock"
  (
    rm -rf "$folder"/{asserts,check,device,store}
    cp -r "$here"/library/. "$folder/"
    ln -sfn "$(snapd_source "$version")" "$folder/snapd"
    cd "$folder" || exit 1
    export GOFLAGS='-buildvcs=false -tags=nosecboot' GOCACHE=$HALLMARK_CI_CACHE/go-build GOTOOLCHAIN=local
    # Another release of the library may want other versions of what it rests on.
    go build -o bin/ ./asserts ./store >build.log 2>&1 ||
      { go mod tidy >>build.log 2>&1 && go build -o bin/ ./asserts ./store >>build.log 2>&1; } ||
      { cat build.log >&2 && exit 1; }
  ) || return 1
  exec {lock}>&-
  echo "$folder/bin"
}

# unpacked SUITE PACKAGE FILE: prints the folder PACKAGE was unpacked into, FILE tells whether it is whole.
unpacked() {
  local folder=$HALLMARK_CI_CACHE/debian/$1/$2 lock
  mkdir -p "$HALLMARK_CI_CACHE/debian/$1"
  exec {lock}>"$folder.lock"
  flock "$lock"
  if [ ! -e "$folder/$3" ]; then
    rm -rf "$folder" "$folder.part"
    mkdir -p "$folder.part/deb"
    (cd "$folder.part/deb" && debian "$1" download "$2")
    dpkg -x "$folder.part"/deb/*.deb "$folder.part"
    mv "$folder.part" "$folder"
  fi
  exec {lock}>&-
  [ -e "$folder/$3" ] && echo "$folder"
}

# debian SUITE ARGUMENTS...: apt-get for a suite this machine need not be configured for. Archive address and
# key are taken from its own configuration; its package lists are left alone.
debian() {
  local suite=$1 apt=$HALLMARK_CI_CACHE/debian/$1/apt archive
  shift
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sort -u | head -n 1)
  [ -n "$archive" ] || { apt-get update >/dev/null 2>&1 || true; }
  archive=${archive:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sort -u | head -n 1)}
  [ -n "$archive" ] || { echo "error: cannot find a Debian archive in this machine's apt sources" >&2 && return 1; }
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" >"$apt/sources.list"
  local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  apt-get "${options[@]}" update >"$apt/log" 2>&1 && apt-get "${options[@]}" "$@" >>"$apt/log" 2>&1 ||
    { cat "$apt/log" >&2 && return 1; }
}

# preflight: says what the device suite cannot do here, instead of failing in the middle of it.
preflight() {
  local missing=0
  can() {
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then return; fi
    missing=1
    printf 'error: cannot run the client suites: %s\n%s\n' "$what" "$out" | head -n 6 >&2
  }
  can 'they must run as root' test "$(id -u)" -eq 0
  can 'mount, network and process namespaces are needed' isolate true
  can 'an overlay over / on a tmpfs is needed' isolate bash -c 'd=$(mktemp -d) && mount -t tmpfs none "$d" &&
    mkdir "$d/u" "$d/w" "$d/m" && mount -t overlay none -o "lowerdir=/,upperdir=$d/u,workdir=$d/w" "$d/m" &&
    test -e "$d/m/etc/passwd"'
  can 'systemd-nspawn is needed (package systemd-container)' systemd-nspawn --version
  can 'loop devices are needed' isolate bash -c 'f=$(mktemp) && truncate -s 1M "$f" && l=$(losetup --find --show "$f") &&
    losetup --detach "$l" && rm "$f"'
  can 'FUSE is needed' isolate bash -c 'd=$(mktemp -d) && mkdir "$d/in" "$d/at" && echo x >"$d/in/x" &&
    mksquashfs "$d/in" "$d/s" -quiet -no-progress && squashfuse "$d/s" "$d/at" && test -e "$d/at/x" && umount "$d/at"'
  [ "$missing" -eq 0 ]
}

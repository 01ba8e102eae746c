#!/usr/bin/env bash
# Brings what is not Go into .embedd, with the ordinary clients and nothing else:
#   lib/libtokenizers.a   cargo, from the Go module's own source and the pinned crates of internal/native/tokenizers
#   lib/libonnxruntime.*  pip, out of the wheel pinned in scripts/requirements.txt
# What is there already is checked and kept. The models are brought by `embedd models pull`.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.embedd
mkdir -p "$home/lib"

fail() { echo "setup: $*" >&2; exit 1; }
need() { # need TOOL PACKAGE-HINT
	command -v "$1" >/dev/null 2>&1 || fail "$1 is missing; install it: $2"
}
sha256() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi | cut -d' ' -f1
}

need go "Go 1.26 or newer, https://go.dev/doc/install"
case $(uname -s)-$(uname -m) in
Linux-x86_64)
	platform=manylinux_2_28_x86_64 library=libonnxruntime.so.1.24.1
	library_sha256=94ac52f650e195b784587e1cb7d25b4bf074048b50fa9a7127795b2ed34db22e ;;
Linux-aarch64 | Linux-arm64)
	platform=manylinux_2_28_aarch64 library=libonnxruntime.so.1.24.1
	library_sha256=31d6df98d3a2942ce10472109f988037f330dad6cb1c19e214fd2b1327315ee0 ;;
Darwin-arm64)
	platform=macosx_14_0_arm64 library=libonnxruntime.1.24.1.dylib
	library_sha256=3c83e0ab9d64abb458527ece72d522ec0271a76d296d459b4632269dbb675c7d ;;
*) fail "ONNX Runtime 1.24.1 has no wheel for $(uname -s) $(uname -m); supported are Linux x86-64 and arm64, macOS arm64" ;;
esac

# --- libtokenizers.a -------------------------------------------------------------------------------------------------
crate=internal/native/tokenizers
module=$(go list -mod=mod -m -f '{{.Dir}}' github.com/daulet/tokenizers 2>/dev/null || true)
if [ ! -d "$module" ]; then # not in the module cache yet; go.sum checks what comes
	go mod download github.com/daulet/tokenizers || fail "go mod download github.com/daulet/tokenizers failed"
	module=$(go list -mod=mod -m -f '{{.Dir}}' github.com/daulet/tokenizers)
fi
source=$module/crates/tokenizers/src/lib.rs
stamp=$(cat "$crate/Cargo.toml" "$crate/Cargo.lock" "$crate/load.rs" "$source" | sha256 /dev/stdin)
if [ ! -f "$home/lib/libtokenizers.a" ] || [ "$(cat "$home/lib/libtokenizers.stamp" 2>/dev/null)" != "$stamp" ]; then
	need cc "a C and C++ compiler (Debian, Ubuntu: apt-get install g++)"
	need g++ "a C++ compiler, for linking (Debian, Ubuntu: apt-get install g++)"
	need cargo "Rust, https://rustup.rs (Debian, Ubuntu: apt-get install cargo)"
	echo "setup: building libtokenizers.a (about a minute)"
	mkdir -p "$crate/src"
	# The module catches the library's panics while it encodes; load.rs does so while it loads a file.
	rm -f "$crate/src/lib.rs"
	sed 's/Tokenizer::from_bytes(bytes_slice)/load(bytes_slice)/' "$source" | cat - "$crate/load.rs" >"$crate/src/lib.rs"
	[ "$(grep -c 'match load(bytes_slice)' "$crate/src/lib.rs")" -ge 1 ] || fail "$source is not the source that load.rs is made for"
	target=$home/build/tokenizers
	cargo build --quiet --release --locked --manifest-path "$crate/Cargo.toml" --target-dir "$target" ||
		fail "cargo could not build libtokenizers.a; see above"
	cp -f "$target/release/libtokenizers.a" "$home/lib/libtokenizers.a.new"
	mv "$home/lib/libtokenizers.a.new" "$home/lib/libtokenizers.a"
	echo "$stamp" >"$home/lib/libtokenizers.stamp"
	rm -rf "$home/build"
	go clean -testcache # Go does not see that a linked archive changed
	rm -f bin/embedd    # nor does go build
fi

# --- ONNX Runtime ----------------------------------------------------------------------------------------------------
check_library() {
	local have
	have=$(sha256 "$1")
	[ "$have" = "$library_sha256" ] || fail "$1 has sha256 $have, must be $library_sha256; remove it and run make setup again"
}
if [ -f "$home/lib/$library" ]; then
	check_library "$home/lib/$library"
else
	need python3 "Python 3 with pip (Debian, Ubuntu: apt-get install python3-pip)"
	python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing; install it: Debian, Ubuntu: apt-get install python3-pip"
	echo "setup: fetching ONNX Runtime 1.24.1 (17 MB)"
	wheels=$(mktemp -d)
	trap 'rm -rf "$wheels"' EXIT
	python3 -m pip --disable-pip-version-check download --quiet --no-deps --no-cache-dir --require-hashes --only-binary :all: \
		--implementation cp --python-version 3.11 --abi cp311 --platform "$platform" \
		--requirement scripts/requirements.txt --dest "$wheels" || fail "pip could not fetch ONNX Runtime; see above"
	python3 -m zipfile -e "$wheels"/onnxruntime-*.whl "$wheels/unpacked"
	check_library "$wheels/unpacked/onnxruntime/capi/$library"
	cp -f "$wheels/unpacked/onnxruntime/capi/$library" "$home/lib/$library.new"
	mv "$home/lib/$library.new" "$home/lib/$library"
fi

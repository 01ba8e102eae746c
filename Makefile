# make help shows the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
GO_SOURCES := $(shell find . -name '*.go' -not -path './.embedd/*' -not -path './tools/*') go.mod go.sum $(wildcard models/manifests/*.json models/calibrations/*.json) samples/papers.jsonl
TOOL := go tool -modfile=tools/go.mod
BUF := tools/node_modules/.bin/buf

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: run
run: setup ## Set up what is missing, index the sample papers, show a first answer, serve until Ctrl-C
	@exec bin/embedd serve --samples samples/papers.jsonl

.PHONY: test
test: setup browser ## Set up what is missing and run all the tests
	@bin/embedd models pull all-MiniLM-L6-v2-fp32 >/dev/null # the float32 twin, for comparison
	@bin/embedd models pull paraphrase-MiniLM-L3-v2 >/dev/null # a graph made by others
	EMBEDD_SCREENSHOTS=$(CURDIR)/.embedd/screenshots go test -timeout 30m ./...
	go test -race -short $(RACE)
	go test -race -short -timeout 30m -tags purego ./ann/... # minutes: all in Go, and watched

# The packages whose code runs under the race detector: all but those that need a native library. The index runs there without
# assembly and off-heap memory, into which the detector does not see.
RACE := ./embed/lane ./models/... ./internal/...

.PHONY: test-long
test-long: setup ## The long forms of the tests that break things: crashes, faults, kills, histories (about two hours)
	go test ./internal/store -count=1 -timeout 60m -run 'TestCrash$$' -crashes 10000
	go test ./internal/store -count=1 -timeout 60m -run 'TestDamage$$' -trials 1000
	go test ./internal/store -count=1 -timeout 60m -run 'TestFaults' -trials 0
	go test ./internal/retrieval -count=1 -timeout 60m -v -run 'Linear|Visible|ConfigurationsAgree' -histories 100 -ops 5000 -checks 100000 -configurations 40
	go test -race ./internal/retrieval -count=1 -timeout 60m -run 'Linear|Visible' -histories 20
	go test ./internal/chaos -count=1 -timeout 90m -v -run 'TestKill$$' -cycles 500

.PHONY: test-jobs
test-jobs: setup ## Kill the server at ten random moments of each kind of job (about half an hour)
	go test ./internal/chaos -count=1 -timeout 120m -v -run 'TestKillJobs$$' -job-kills 10

MINUTES ?= 20

.PHONY: soak
soak: setup ## Use a server with a tiny model at half of what it can do, and see that nothing grows (MINUTES=20)
	go test ./internal/chaos -count=1 -v -timeout 0 -run 'TestSoak$$' -soak $(MINUTES)m

.PHONY: bench-restart
bench-restart: ## Measure how long a start takes for 118,000 papers, with a snapshot of the index and without (a few minutes)
	go run ./bench/restart $(ARGS)

.PHONY: test-arm64
test-arm64: ## Test the kernels for arm64 on this machine, in an emulator (about a minute)
	@command -v qemu-aarch64 >/dev/null || { echo "qemu-aarch64 is missing; it comes with Debian's package qemu-user" >&2; exit 1; }
	GOOS=linux GOARCH=arm64 go vet ./ann/vec
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go test -c -o "$$dir/vec.test" ./ann/vec && cd ann/vec && \
	for run in max:neondot,neon,go cortex-a57:neon,go; do \
		echo "ann/vec for arm64, CPU and kernels $$run" && \
		qemu-aarch64 -cpu "$${run%:*}" "$$dir/vec.test" -implementations "$${run#*:}" || exit 1; \
	done

.PHONY: setup
setup: native bin/embedd ## Bring libraries and model, build bin/embedd
	@bin/embedd models pull >/dev/null

.PHONY: native
native:
	@scripts/setup.sh

bin/embedd: $(GO_SOURCES) .embedd/lib/libtokenizers.a | native
	@go build -o bin/embedd ./cmd/embedd

.embedd/lib/libtokenizers.a: | native

.PHONY: lint
lint: setup ## gofmt, go vet, staticcheck, buf lint, and that generated code is current
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "lint: run gofmt -w on these files" >&2; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	@$(MAKE) --no-print-directory generate
	@test -z "$$(git status --porcelain -- proto internal/gateway models/onnx ann/vec | tee /dev/stderr)" || { echo "lint: generated code is not current; run make generate and commit" >&2; exit 1; }

.PHONY: generate
generate: $(BUF) ## Lint the wire contract; generate its Go code, and the kernels in assembly
	PATH=$(CURDIR)/tools/node_modules/.bin:$$PATH buf lint
	PATH=$(CURDIR)/tools/node_modules/.bin:$$PATH buf generate
	PATH=$(CURDIR)/tools/node_modules/.bin:$$PATH buf generate --template models/onnx/buf.gen.yaml
	scripts/openapi.sh
	go generate ./ann/vec

# What make browser needs of npm comes with buf.
$(BUF): tools/package.json tools/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing; install Node.js to lint and generate the wire contract, and for tests in a browser" >&2; exit 1; }
	cd tools && npm install --no-save --ignore-scripts --silent # npm ci wants the lock to list platforms that npm leaves out
	@touch $@

.PHONY: browser
browser: ## Bring what tests in a browser need: Chromium by apt-get, as root; playwright-core and axe-core by npm
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else \
		echo "Tests in a browser are skipped: install chromium and a font that has Arabic and Hebrew, as Debian's packages chromium and fonts-dejavu-core" >&2; \
	fi
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(BUF); else echo "Tests in a browser are skipped: install Node.js and npm" >&2; fi

SERVER ?= http://127.0.0.1:8080

.PHONY: lighthouse
lighthouse: browser ## Measure the pages of a running server with Lighthouse (SERVER=http://127.0.0.1:8080)
	@tools/lighthouse.sh $(SERVER)

.PHONY: bars
bars: setup ## Print the figures that the project holds itself to (about 50 minutes; needs the evaluation sets)
	scripts/bars.sh

.PHONY: fuzz-tokenizer
fuzz-tokenizer: setup ## Compare the tokens of 20,000 random texts with those of the Python library (about a minute)
	@.embedd/fuzz/bin/python -c 'import tokenizers' 2>/dev/null || { python3 -m venv .embedd/fuzz && .embedd/fuzz/bin/pip install --quiet tokenizers==0.22.1; }
	@.embedd/fuzz/bin/python embed/testdata/golden/fuzz_texts.py --tokenizer .embedd/models/all-MiniLM-L6-v2/tokenizer.json --texts 20000 .embedd/fuzz/texts.jsonl
	EMBEDD_TOKEN_TEXTS=$(CURDIR)/.embedd/fuzz/texts.jsonl go test -count=1 -v -run TestTokensOfRandomTexts ./embed

.PHONY: test-clients
test-clients: setup .embedd/clients/installed ## Run clients in Python, ours of docs/clients.md and those of others of docs/compat.md (400 MB the first time)
	EMBEDD_TEST_PYTHON=$(CURDIR)/.embedd/clients/bin/python go test -count=1 -v -run 'TestPythonClient|TestClientsOfOthers' ./cmd/embedd

.embedd/clients/installed: cmd/embedd/testdata/clients/requirements.txt
	@rm -rf .embedd/clients && python3 -m venv .embedd/clients && .embedd/clients/bin/pip install --quiet --disable-pip-version-check --no-deps -r $< && touch $@

.PHONY: test-tables
test-tables: setup .embedd/tables/installed ## Read what embedd export writes with pandas, polars, DuckDB and NumPy (130 MB the first time)
	EMBEDD_TEST_TABLES=$(CURDIR)/.embedd/tables/bin/python go test -count=1 -v -run TestTablesInPython ./cmd/embedd

.embedd/tables/installed: cmd/embedd/testdata/tables/requirements.txt
	@rm -rf .embedd/tables && python3 -m venv .embedd/tables && .embedd/tables/bin/pip install --quiet --disable-pip-version-check --no-deps -r $< && touch $@

CASES ?= 40

.PHONY: test-http
test-http: setup ## Send the HTTP routes what their description allows and what it does not, by schemathesis (CASES=40 for each; downloads 20 MB)
	@.embedd/schemathesis/bin/schemathesis --version >/dev/null 2>&1 || { python3 -m venv .embedd/schemathesis && .embedd/schemathesis/bin/pip install --quiet schemathesis==4.32.5; }
	EMBEDD_TEST_SCHEMATHESIS=$(CURDIR)/.embedd/schemathesis/bin/schemathesis EMBEDD_TEST_CASES=$(CASES) go test -count=1 -v -timeout 60m -run TestSchemathesis ./cmd/embedd

.PHONY: test-openvino
test-openvino: setup ## Test the OpenVINO provider (downloads 80 MB)
	@test -d .embedd/openvino || { mkdir -p .embedd/openvino && python3 -m venv .embedd/openvino && .embedd/openvino/bin/pip install --quiet --no-deps onnxruntime-openvino==1.24.1; }
	EMBEDD_TEST_OPENVINO=$$(find $(CURDIR)/.embedd/openvino -name 'libonnxruntime.so.1.24.1') go test -count=1 -v -run TestOpenVINO ./embed

CORPUS ?= $(or $(EMBEDD_TEST_DATA),../shared/data)/scifact

.PHONY: bench-encoder
bench-encoder: setup ## Measure the encoder against sentence-transformers (about 15 minutes; CORPUS=FILE, ARGS=OPTIONS)
	bench/encoder/run.py $(CORPUS) $(ARGS)

.PHONY: bench-ann
bench-ann: setup ## Measure the index against hnswlib, faiss and usearch (an hour or two; ARGS=OPTIONS)
	bench/ann/run.py $(ARGS)

.PHONY: fuzz
fuzz: setup ## Run each fuzz target for a while (TIME=20s each)
	scripts/fuzz.sh $(or $(TIME),20s)

.PHONY: fuzz-models
fuzz-models: setup ## Load 1,000 mutated model files in child processes, which may die (about 2 minutes)
	go test ./cmd/embedd -run TestMutatedModels -count=1 -v -timeout 10m -mutants 1000

.PHONY: goldens
goldens: setup ## Write the golden vectors of the models that come with embedd into their manifests
	bin/embedd models pull all-MiniLM-L6-v2-fp32 && bin/embedd models pull paraphrase-MiniLM-L3-v2
	bin/embedd models golden models/manifests/*.json

.PHONY: clean
clean: ## Remove what was built; libraries, models and papers stay
	rm -rf bin tools/node_modules

.PHONY: clean-data
clean-data: ## Remove all papers of the default data directory, .embedd/data, for good
	rm -rf .embedd/data

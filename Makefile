# otelgate: two commands do the main things, `make run` and `make test`. `make help` lists all.

SHELL := bash
CARGO ?= cargo
# Folder of the collector configuration that ClickStack ships.
CLICKSTACK_COLLECTOR ?= ../shared/clickstack/collector

.PHONY: help run run-forward test test-deploy test-image manifests test-changes test-clients test-faults test-cluster test-acme test-oidc oidc-provider test-mutants test-edge bench bench-peers bench-forward oracle oracle-json clickhouse deny advisories fmt clippy clean-run doc book fuzz lint-docker sbom release deb reproducible

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: clickhouse ## start ClickHouse and otelgate, send telemetry through both, show what arrived, keep running
	$(CARGO) build --workspace --bins
	target/debug/otelgate-demo --data run

run-forward: clickhouse ## the same with a real collector between otelgate and ClickHouse
	$(CARGO) build --workspace --bins
	target/debug/otelgate-demo --data run-forward --collector "$$(dev/oracle/build-collector.sh)"

test: clickhouse ## all tests, against a real ClickHouse
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace

test-clients: clickhouse ## real SDKs (Python, Node, Go, …) through restarts, limits and refusals; writes the table of docs/clients.md (QUICK=1: the cheap part)
	$(CARGO) build --workspace --bins
	target/debug/otelgate-clients $(if $(QUICK),--quick,--page docs/clients.md)

test-changes: clickhouse ## what needs a machine to itself: 10,000 requests a second (RATE=…) while keys, certificates, limits and origins change 50 times, three replicas in a flood while their Redis is killed, and the wake-ups of an idle one
	$(CARGO) build --release --workspace --bins
	$(if $(RATE),RATE=$(RATE)) $(CARGO) test --release --test it -- --ignored --exact --nocapture \
	    --test-threads 1 config_reload::under_load::no_request_of_ten_thousand_a_second_fails_while_everything_changes \
	    shared_limits::three_edges_hold_a_flood_to_the_limit_though_redis_is_killed \
	    idle::it_wakes_up_twice_a_second_at_most

test-deploy: ## what lies in deploy/, with the tools that read it (FULL=1: those too that take minutes to build, and what needs root)
	FULL=$(FULL) scripts/test-deploy.sh

test-image: ## build the image without Docker, and run it as Kubernetes would (root, buildah, podman; minutes; BUILT=1: what was built last)
	scripts/test-image.sh

manifests: ## write the plain Kubernetes manifests and the chart's README.md out of the chart
	scripts/manifests.sh

test-faults: clickhouse ## kill, cut, fill and flip everything while clients send, and count the records (SEED=… repeats a run)
	$(CARGO) build --workspace --bins
	target/debug/otelgate-faults $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

test-cluster: clickhouse ## faults with two shards, with two shards of two replicas, and with two replicas behind one address (replicas need ZooKeeper: apt-get install zookeeper; or CLICKHOUSE_CLUSTER_URLS)
	$(CARGO) build --workspace --bins
	target/debug/otelgate-faults --only shards $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))
	target/debug/otelgate-faults --only replicas $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))
	$(CARGO) test --test it -- --ignored --exact clickhouse::cluster::replicated_tables_keep_what_either_replica_takes

test-acme: ## order and renew certificates from Pebble, a real ACME directory (needs Go once, to build it)
	$(CARGO) build --workspace --bins
	ACME_RENEWAL=1 $(CARGO) test --test it -- acme::

test-oidc: clickhouse oidc-provider ## tokens of a certified OpenID Connect provider as keys (needs node and npm)
	$(CARGO) build --workspace --bins
	OIDC_PROVIDER=$(CURDIR)/target/oidc-provider $(CARGO) test --test it -- oidc::

oidc-provider: ## fetch the certified OpenID Connect provider that test-oidc runs (npm)
	@mkdir -p target/oidc-provider
	npm install --silent --no-fund --no-audit --prefix target/oidc-provider oidc-provider@9

test-edge: clickhouse ## attack otelgate, and a collector beside it, while a good client sends; h2spec; writes the table of docs/security.md (QUICK=1: a second each, otelgate alone)
	$(CARGO) build $(if $(QUICK),,--release) --workspace --bins
	target/$(if $(QUICK),debug/otelgate-edge --time 1 --rounds 0,release/otelgate-edge --page docs/security.md --collector "$$(dev/oracle/build-collector.sh)") \
	    $(if $(shell command -v go),--h2spec "$$(scripts/h2spec.sh)") $(if $(TIME),--time $(TIME))

test-mutants: clickhouse ## show that the fault harness finds mistakes: patched otelgates, each caught
	dev/faults/test-mutants.sh $(MUTANT)

oracle: clickhouse ## compare every row with ClickStack's collector (SEED=…, REQUESTS=… repeat a run)
	$(CARGO) build --workspace --bins
	target/debug/oracle --collector "$$(dev/oracle/build-collector.sh)" --configs $(CLICKSTACK_COLLECTOR) \
	    $(if $(SEED),--seed $(SEED)) $(if $(REQUESTS),--requests $(REQUESTS))

oracle-json: ## compare what otelgate and the collector read in 100,000 random JSON documents a signal (SEED=…, DOCUMENTS=… repeat a run)
	$(CARGO) build --package oracle --bin oracle-json
	target/debug/oracle-json --reader "$$(dev/oracle/build-reader.sh)" \
	    $(if $(SEED),--seed $(SEED)) $(if $(DOCUMENTS),--documents $(DOCUMENTS)) $(if $(KEEP),--keep $(KEEP))

bench: clickhouse ## decode and encode alone, then what the whole process costs (benches/README.md)
	$(CARGO) bench --bench encode
	$(CARGO) build --release --workspace --bins
	target/release/otelgate-bench --without-spool

bench-peers: clickhouse ## otelgate, ClickStack's collector and Rotel in turn, under the same load
	$(CARGO) build --release --workspace --bins
	target/release/otelgate-bench --collector "$$(dev/oracle/build-collector.sh)" --configs $(CLICKSTACK_COLLECTOR) --rotel "$$(scripts/tool.sh rotel)"

bench-forward: ## CPU seconds per GB forwarded: otelgate, the collector, and nginx where it is installed
	$(CARGO) build --release --workspace --bins
	target/release/forward --collector "$$(dev/oracle/build-collector.sh)"

clickhouse: ## fetch the ClickHouse library once (not when CLICKHOUSE_URL names a running server)
	@[ -n "$$CLICKHOUSE_URL" ] || scripts/fetch-clickhouse.sh

deny: ## licences, sources and duplicates of the dependencies
	"$$(scripts/tool.sh cargo-deny)" --log-level error check licenses sources bans

advisories: ## known vulnerabilities of the dependencies (fetches the advisory database)
	"$$(scripts/tool.sh cargo-deny)" check advisories

fuzz: ## build the fuzz targets, run each for a minute (TIME=seconds, TARGETS="…")
	scripts/fuzz.sh $(or $(TIME),60) $(TARGETS)

doc: ## the code's documentation, without a warning
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --no-deps --workspace --document-private-items

book: ## the documentation as a book (target/book/html), built by mdBook, which takes minutes to build once
	scripts/book.sh

lint-docker: ## lint the Dockerfile
	"$$(scripts/tool.sh hadolint)" Dockerfile

sbom: ## what the program is made of, as CycloneDX (target/otelgate.cdx.json), and all licences (target/LICENCES.txt)
	@mkdir -p target
	scripts/sbom.sh > target/otelgate.cdx.json
	scripts/licences.sh > target/LICENCES.txt

release: ## the program to be released, its SBOM, licences and checksums (target/dist)
	scripts/release.sh target/dist

deb: ## the Debian package of what is released (target/debian)
	scripts/deb.sh target/debian

reproducible: ## build the release twice, in two places, and compare
	scripts/reproducible.sh

fmt: ## format
	$(CARGO) fmt --all

clippy: ## lint
	$(CARGO) clippy --workspace --all-targets -- -D warnings

clean-run: ## forget what `make run` made
	rm -rf run run-forward

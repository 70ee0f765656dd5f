# moesim. One makefile for the whole tree; `make help` lists what it can do.
#
#   MODE=release|debug|asan|tsan|coverage   how to compile (default release)
#   CC=gcc|clang                            with what
#   V=1                                     show the commands
# Objects go to build/$(CC)-$(MODE)/, so modes live side by side.

MODE ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON ?= /usr/bin/python3
prefix ?= /usr/local

# Where no -j was given, the targets that build much use every processor.
many = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

Q := $(if $(V),,@)
say := @$(if $(V),:,printf '  %-5s %s\n')

B := build/$(notdir $(CC))-$(MODE)

WARN := -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wstrict-prototypes \
        -Wmissing-prototypes -Werror
# Release is what users time: asserts (our own mistakes) and the warnings about what only
# they use are for the other modes. Vectors of two fields of a struct cost more than they
# save here; loops are vectorised all the same. With gcc what a replay is made of is
# optimised as a whole (HOT_SRC); tests link the same objects one by one, which is quicker.
MODE_release := -O3 -fno-tree-slp-vectorize -g -DNDEBUG -Wno-unused-function \
                -Wno-unused-variable -Wno-unused-but-set-variable -Wno-unused-parameter
ifneq ($(findstring gcc,$(CC)),)
WHOLE_release := -flto=auto -ffat-lto-objects -Wno-dangling-pointer
APART_release := -fno-lto
endif
BRIEF_release := -O1
MODE_debug := -O0 -g3
MODE_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
             -fno-omit-frame-pointer
MODE_tsan := -O1 -g -fsanitize=thread
MODE_coverage := -O0 -g --coverage
# What ends by _exit() writes its counts, too.
ifeq ($(MODE),coverage)
LDFLAGS += -Wl,--wrap=_exit tests/slow/counted_exit.c
endif
# What tests/mutate changes and links again, one object at a time.
MODE_mutate := -O2 -fPIC -DNDEBUG -w
MODE_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
             -fno-sanitize-recover=all
ifeq ($(MODE_$(MODE)),)
$(error MODE=$(MODE) is not known; use release, debug, asan, tsan or coverage)
endif

# HDF5's serial flavour by name: plain "hdf5" means OpenMPI's once that is installed.
PACKAGES := hdf5-serial libdeflate gsl yaml-0.1
isystem = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(1) 2>/dev/null))
LIB_CFLAGS := $(call isystem,$(PACKAGES))
LIB_LDLIBS = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm -lpthread

VERSION := $(shell sed -n "s/^## \([0-9.]*\).*/\1/p" CHANGELOG.md | head -1)
CPPFLAGS += -D_POSIX_C_SOURCE=200809L -DMOESIM_VERSION=\"$(VERSION)\" -I. $(LIB_CFLAGS)
CFLAGS += -std=c17 -pedantic -ffp-contract=off $(WARN) $(MODE_$(MODE)) \
          $(WHOLE_$(MODE))

# What needs MPI or NCCL is no part of the program: `make ranks` and `make gpu` build it.
RANKS_SRC := gpu/communicator_mpi.c gpu/ranks.c
SWEEP_SRC := sim/cmd/ranks_mpi.c
NCCL_SRC := gpu/communicator_nccl.c
# In place of what calls GSL, in the program with CUDA.
NO_GSL_SRC := models/fit_none.c sim/experiment/sobol_none.c
SRC := $(sort $(filter-out $(RANKS_SRC) $(NCCL_SRC) $(NO_GSL_SRC),\
                 $(filter-out sim/cmd/%,$(wildcard sim/*/*.c)) \
                 $(wildcard models/*.c traces/*.c validate/*.c gpu/*.c)))
CMD_SRC := $(sort $(filter-out $(SWEEP_SRC),$(wildcard sim/cmd/*.c)))
TEST_SRC := $(sort $(wildcard tests/test_*.c))
TEST_HELP := $(sort $(filter-out $(wildcard tests/test_*.c),$(wildcard tests/*.c)))
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_HELP := damage input read_trace
PROTOS := $(sort $(wildcard sim/*/*.h models/*.h traces/*.h validate/*.h gpu/*.h))

# What a replay spends its time in.
HOT_SRC := $(filter $(addprefix sim/,base/% engine/% policy/% exec/% workload/% run/%) \
                    traces/% models/%,$(SRC))
OBJ := $(SRC:%.c=$(B)/%.o)
CMD_OBJ := $(CMD_SRC:%.c=$(B)/%.o)
TEST_HELP_OBJ := $(TEST_HELP:%.c=$(B)/%.o)
TESTS := $(TEST_SRC:tests/%.c=$(B)/%)
THREADED := test_curve test_device test_device_failures test_device_kernels test_exec_device \
            test_exec_failures test_file test_file_ends test_shared test_speed test_timeline \
            test_trace
BENCHES := $(BENCH_SRC:tests/bench/%.c=$(B)/%)
FUZZERS := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/%)
REPLAYS := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=$(B)/replay_%)
MPI_CFLAGS := $(call isystem,ompi-c)
LINTED := $(patsubst %.c,build/lint/%.ok,$(SRC) $(CMD_SRC) $(NO_GSL_SRC) $(if $(MPI_CFLAGS),$(RANKS_SRC) $(SWEEP_SRC)))

# ---- what a user calls ----

demo: setup ## build, replay the shipped trace under several policies, write out/
	@$(MAKE) --no-print-directory $(many) moesim
	@build/moesim run traces/samples/demo.yaml --out out/demo --threads 2
	@build/moesim report out/demo/result.h5 --out out/demo

test: setup ## build and run every test of the fast tier
	@$(MAKE) --no-print-directory $(many) moesim tests
	@tests/run $(B)

moesim: $(B)/moesim ## build the program
	@ln -sfn $(B:build/%=%)/moesim build/moesim

ranks: $(B)/moesim-mpi $(B)/moesim-ranks ## with MPI: moesim-mpi (sweeps), moesim-ranks (collectives)
	@ln -sfn $(B:build/%=%)/moesim-mpi build/moesim-mpi
	@ln -sfn $(B:build/%=%)/moesim-ranks build/moesim-ranks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@sed -n '3,6s/^# *//p' Makefile

setup:
	@.ci/setup

# ---- building ----

$(B)/moesim: $(CMD_OBJ) $(OBJ)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LDLIBS)

$(B)/libmoesim.a: $(OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(TESTS): $(B)/test_%: $(B)/tests/test_%.o $(TEST_HELP_OBJ) $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(APART_$(MODE)) $(LDFLAGS) -o $@ $^ -lcmocka $(LIB_LDLIBS)

$(BENCHES): $(B)/%: $(B)/tests/bench/%.o $(OBJ)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LDLIBS)

# Only with CC=clang MODE=fuzz, which `make fuzz` sets.
$(FUZZERS): $(B)/%: $(B)/tests/fuzz/%.o $(FUZZ_HELP:%=$(B)/tests/fuzz/%.o) $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) \
	    $(LIB_LDLIBS)

# The same without the fuzzer, for the seeds.
$(REPLAYS): $(B)/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o \
            $(FUZZ_HELP:%=$(B)/tests/fuzz/%.o) $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(APART_$(MODE)) $(LDFLAGS) -o $@ $(filter %.o,$^) \
	    $(filter %.a,$^) $(LIB_LDLIBS)

# Tests are compiled once and run for a moment: quick to compile comes first.
$(filter-out $(HOT_SRC:%.c=$(B)/%.o),$(OBJ)) $(CMD_OBJ): CFLAGS += $(APART_$(MODE))
$(TEST_SRC:%.c=$(B)/%.o) $(TEST_HELP_OBJ): CFLAGS += $(APART_$(MODE)) $(BRIEF_$(MODE))

# What they share is not what they explore, and runs at full speed.
$(FUZZ_HELP:%=$(B)/tests/fuzz/%.o) $(B)/tests/fuzz/memory_trace.o: \
    CFLAGS += $(if $(filter fuzz,$(MODE)),-O2 -fno-sanitize=all)
# A trace in memory stands in for traces/hdf.c, which the archive then need not give.
$(addprefix $(B)/,fuzz_trace replay_trace fuzz_experiment replay_experiment): \
    $(B)/tests/fuzz/memory_trace.o
$(B)/fuzz_result $(B)/replay_result: $(B)/tests/made_result.o

# Only what it uses of the library is linked, so neither HDF5 nor GSL.
MPI_SRC := $(RANKS_SRC) $(SWEEP_SRC)
$(MPI_SRC:%.c=$(B)/%.o) $(MPI_SRC:%.c=build/lint/%.ok): CPPFLAGS += $(MPI_CFLAGS)
$(MPI_SRC:%.c=$(B)/%.o): | need-mpi
$(B)/moesim-ranks: $(RANKS_SRC:%.c=$(B)/%.o) $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--as-needed -o $@ $^ $(LIB_LDLIBS) \
	    $(shell pkg-config --libs ompi-c)

# The plain program's objects, but for what makes its process one of several.
$(B)/moesim-mpi: $(SWEEP_SRC:%.c=$(B)/%.o) $(filter-out %/ranks_alone.o,$(CMD_OBJ)) $(OBJ)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIB_LDLIBS) $(shell pkg-config --libs ompi-c)

need-mpi:
	@pkg-config --exists ompi-c || { \
	    echo "this needs MPI: apt-get install libopenmpi-dev openmpi-bin" >&2; exit 1; }

tests: $(TESTS) $(REPLAYS)
objects: $(OBJ) $(CMD_OBJ) $(TEST_SRC:%.c=$(B)/%.o) $(TEST_HELP_OBJ) \
         $(patsubst %.c,$(B)/%.o,$(wildcard tests/fuzz/*.c))
flags: # for tests/mutate
	@printf '%s\n' 'COMPILE=$(CC) $(CPPFLAGS) $(CFLAGS)' 'LIBS=$(LIB_LDLIBS)' \
	    'SOURCES=$(SRC) $(CMD_SRC)' 'HELPERS=$(TEST_HELP)'
benches: $(BENCHES)
fuzzers: $(FUZZERS) $(B)/moesim

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- the program with CUDA: `make gpu` ----

# From PATH, a toolkit, or the wheels of gpu/requirements.txt in .venv/.
NVCC ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc \
    .venv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc))
# As nvcc itself says, which in PATH may be a script that starts another one.
CUDA := $(realpath $(if $(NVCC),$(shell $(NVCC) --dryrun -x cu -c /dev/null 2>&1 | \
    sed -n 's/^.[$$] TOP=//p')))
# Wheels have no lib64/, and no libcublas.so without a version.
CUDA_LIB := $(firstword $(wildcard $(CUDA:%=%/lib64) $(CUDA:%=%/lib)))
# bf16 begins with 8.0. Older machine code runs on newer chips of the same generation, and
# what is newer than all of these compiles the last one's PTX when it starts.
NVCC_ARCH := -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_89,code=sm_89 \
             -gencode=arch=compute_90,code=[sm_90,compute_90]
NVCC_release := -DNDEBUG
NVCC_FLAGS := -std=c++20 -O3 -lineinfo -I. $(NVCC_ARCH) $(NVCC_$(MODE)) \
              -Werror all-warnings \
              -Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow,-Wcast-qual
# The first place is the kit's lib/. As DT_RPATH both hold for libraries of libraries too.
# libstdc++.so wants a glibc as new as where it was built; of the archive little is used.
CUDA_LDLIBS = -L$(CUDA_LIB) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib',-rpath,$(CUDA_LIB) \
              -l:libcublas.so.13 -lcudart_static -l:libstdc++.a -static-libgcc \
              $(filter-out -lgsl%,$(LIB_LDLIBS)) -lrt -ldl

NO_CUDA := no nvcc of CUDA 13 $(if $(NVCC),at $(NVCC),in PATH or /usr/local/cuda/bin); \
           see gpu/requirements.txt

CUDA_OBJ := $(patsubst %.cu,$(B)/%.cu.o,$(sort $(wildcard gpu/*.cu)))
# Where -DMOESIM_CUDA matters; the other objects are the plain program's.
CUDA_MAIN := $(B)/cuda/sim/cmd/main.o
CUDA_LIST := $(B)/cuda/gpu/device.o $(NO_GSL_SRC:%.c=$(B)/%.o)
CUDA_TESTS := $(patsubst tests/%.c,$(B)/cuda/%,$(wildcard tests/test_device*.c))

gpu: ## the programs with CUDA (moesim-cuda, moesim-ranks-cuda), and their tests
	@[ -n "$(CUDA_LIB)" ] || { echo "skip gpu: $(NO_CUDA)"; exit 77; }
	@$(MAKE) --no-print-directory $(many) $(B)/moesim-cuda $(CUDA_TESTS) $(CUDA_RANKS)
	@ln -sfn $(B:build/%=%)/moesim-cuda build/moesim-cuda
	@tests/slow/gpu $(B)
	@$(if $(CUDA_RANKS),ln -sfn $(B:build/%=%)/moesim-ranks-cuda build/; \
	    tests/slow/ranks $(B),echo "skip ranks_cuda: no MPI or no NCCL to build it with")

sanitize-gpu: gpu ## compute-sanitizer on the device tests; needs a GPU
	@tests/slow/gpu $(B) sanitize

$(B)/%.cu.o: %.cu Makefile
	@mkdir -p $(@D)
	$(say) NVCC $@
	$(Q)$(NVCC) $(NVCC_FLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -c -o $@ $<

$(B)/cuda/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) $(CPPFLAGS) -DMOESIM_CUDA $(CFLAGS) $(APART_$(MODE)) -MMD -MP -c -o $@ $<

$(B)/libcmd.a: $(filter-out %/main.o,$(CMD_OBJ))
	@rm -f $@
	$(Q)ar rcs $@ $^

# GSL is under the GPL and must not be linked together with CUDA's libraries. It is not
# among them, and of the archives only what is called is taken: code that calls it fails
# to link here, but for what NO_GSL_SRC stands in for.
$(B)/moesim-cuda: $(CUDA_MAIN) $(CUDA_LIST) $(CUDA_OBJ) $(B)/libcmd.a $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(APART_$(MODE)) $(LDFLAGS) -o $@ $^ $(CUDA_LDLIBS)

# ---- the same code on a CPU: `make emulate` ----

# gpu/*.cu compiled by g++ against NVIDIA's headers, with tests/cuda_on_cpu/ for the
# runtime, cuBLAS and the threads of a block.
CXX_FLAGS := -std=c++20 -I. -DCUDA_ON_CPU $(addprefix -isystem ,$(CUDA:%=%/include)) -Wall -Wextra \
             -Wshadow -Wno-unknown-pragmas -Werror $(filter-out -Wno-%,$(MODE_$(MODE)))
EMULATOR := $(patsubst %.cpp,$(B)/%.o,$(sort $(wildcard tests/cuda_on_cpu/*.cpp)))
EMULATED_OBJ := $(patsubst %.cu,$(B)/emulated/%.o,$(sort $(wildcard gpu/*.cu))) $(EMULATOR)
EMULATED_TESTS := $(CUDA_TESTS:$(B)/cuda/%=$(B)/emulated/%)

emulate: ## gpu/*.cu on this CPU: the device tests and a validation; MODE=asan is what CI runs
	@[ -n "$(wildcard $(CUDA)/include/cuda_runtime.h)" ] || { \
	    echo "skip emulate: $(NO_CUDA)"; exit 77; }
	@$(MAKE) --no-print-directory $(many) $(B)/emulated/moesim-cuda $(EMULATED_TESTS)
	@tests/slow/emulate $(B)

emulate-mutants: ## is a missing barrier, wait or copy of the CUDA code noticed by `make emulate`?
	@[ -n "$(wildcard $(CUDA)/include/cuda_runtime.h)" ] || { \
	    echo "skip emulate-mutants: $(NO_CUDA)"; exit 77; }
	@$(MAKE) --no-print-directory $(many) $(EMULATED_TESTS) $(B)/test_block $(B)/test_exec_device
	@tests/slow/emulate_mutants $(B) $(MUTANTS)

cuda-flags: # for tests/slow/emulate_mutants
	@printf '%s\n' 'COMPILE=$(CC) $(CPPFLAGS) $(CFLAGS) $(APART_$(MODE))' \
	    'CUDA_COMPILE=$(CXX) $(CXX_FLAGS) -include tests/cuda_on_cpu/kernels.h' \
	    'CUDA_SOURCES=$(sort $(wildcard gpu/*.cu))' \
	    'CUDA_LINK=$(CXX) $(MODE_$(MODE)) $(APART_$(MODE)) $(LDFLAGS)' \
	    'CUDA_WITH=$(EMULATOR) $(CUDA_LIST) $(TEST_HELP_OBJ) $(B)/libmoesim.a -lcmocka $(LIB_LDLIBS) -ldl'

$(B)/emulated/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(say) CXX $@
	$(Q)$(CXX) $(CXX_FLAGS) -include tests/cuda_on_cpu/kernels.h -MMD -MP -c -o $@ -x c++ $<

# Fibers change the stack under the sanitizers, and tell them; products ask them first.
$(B)/tests/cuda_on_cpu/block.o $(B)/tests/cuda_on_cpu/blas.o: CXX_FLAGS += -O3 \
    -fno-sanitize=all $(if $(findstring address,$(MODE_$(MODE))),-DCUDA_ON_CPU_ASAN)

$(EMULATOR): $(B)/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	$(say) CXX $@
	$(Q)$(CXX) $(CXX_FLAGS) -MMD -MP -c -o $@ $<

$(B)/emulated/moesim-cuda: $(CUDA_MAIN) $(CUDA_LIST) $(EMULATED_OBJ) $(B)/libcmd.a \
                           $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CXX) $(MODE_$(MODE)) $(APART_$(MODE)) $(LDFLAGS) -o $@ $^ $(filter-out -lgsl%,$(LIB_LDLIBS)) -ldl

$(EMULATED_TESTS): $(B)/emulated/%: $(B)/tests/%.o $(CUDA_LIST) $(EMULATED_OBJ) \
                   $(TEST_HELP_OBJ) $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CXX) $(MODE_$(MODE)) $(APART_$(MODE)) $(LDFLAGS) -o $@ $^ -lcmocka $(LIB_LDLIBS) -ldl

# Ranks over NCCL, where there is MPI and NCCL to build them with.
NCCL_CFLAGS := $(addprefix -isystem ,$(CUDA:%=%/include))
CUDA_RANKS := $(if $(and $(MPI_CFLAGS),$(wildcard $(CUDA)/include/nccl.h)),\
                $(B)/moesim-ranks-cuda)
CUDA_RANKS_OBJ := $(B)/cuda/gpu/ranks.o $(NCCL_SRC:%.c=$(B)/cuda/%.o)

LINTED += $(if $(CUDA_RANKS),$(NCCL_SRC:%.c=build/lint/%.ok))

$(CUDA_RANKS_OBJ) $(NCCL_SRC:%.c=build/lint/%.ok): CPPFLAGS += $(MPI_CFLAGS) $(NCCL_CFLAGS)
$(B)/moesim-ranks-cuda: $(CUDA_RANKS_OBJ) $(B)/gpu/communicator_mpi.o $(CUDA_LIST) \
                        $(CUDA_OBJ) $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(APART_$(MODE)) $(LDFLAGS) -Wl,--as-needed -o $@ $^ -lnccl \
	    $(CUDA_LDLIBS) $(shell pkg-config --libs ompi-c)

$(CUDA_TESTS): $(B)/cuda/%: $(B)/tests/%.o $(CUDA_LIST) $(CUDA_OBJ) $(TEST_HELP_OBJ) \
                $(B)/libmoesim.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(APART_$(MODE)) $(LDFLAGS) -o $@ $^ -lcmocka $(CUDA_LDLIBS)

# ---- the kit: what runs on a GPU machine with nothing installed ----

# KIT_BIN=FOLDER takes moesim-cuda and test_device* from there.
KIT_BIN ?=
gpu-kit: ## build/gpu-kit and its .tar.gz, for a machine with a GPU and nothing else
	@[ -n "$(CUDA_LIB)$(KIT_BIN)" ] || { echo "skip gpu-kit: $(NO_CUDA)"; exit 77; }
	@$(MAKE) --no-print-directory $(many) $(B)/moesim \
	    $(if $(KIT_BIN),,$(B)/moesim-cuda $(CUDA_TESTS))
	@gpu/kit/assemble $(B) "$(CUDA)" $(KIT_BIN)

kit-check: ## the kit, unpacked where there is only glibc, and run on the host device
	@if [ -z "$(CUDA_LIB)$(KIT_BIN)" ]; then echo "skip kit: $(NO_CUDA)"; else \
	    $(MAKE) --no-print-directory gpu-kit && tests/slow/kit; fi

# ---- keeping it well ----

layers: ## includes point downward, no files call each other in a circle, no name twice
	@$(MAKE) --no-print-directory $(many) objects
	@tests/layers $(B)

headers: ## every header compiles alone, as C17 and first in line
	@for h in $(PROTOS); do \
	    echo "#include \"$$h\"" | $(CC) $(CPPFLAGS) -std=c17 -pedantic $(WARN) \
	        -fsyntax-only -x c - || { echo "$$h does not compile alone"; exit 1; }; \
	done

lint: ## gcc -fanalyzer and cppcheck, both at zero
	@$(MAKE) --no-print-directory $(many) analyzed
	@cppcheck --std=c11 --quiet --error-exitcode=1 --inline-suppr -I. \
	    --enable=warning,performance,portability --suppress=missingIncludeSystem \
	    -D_POSIX_C_SOURCE=200809L -DSIZE_MAX=18446744073709551615UL \
	    $(wildcard sim models traces validate gpu)

analyzed: $(LINTED)

build/lint/%.ok: %.c Makefile
	@mkdir -p $(@D)
	$(say) LINT $<
	$(Q)gcc $(CPPFLAGS) -std=c17 -pedantic $(WARN) -O1 -fanalyzer -MMD -MP -MT $@ \
	    -MF $(@:.ok=.d) -c -o /dev/null $<
	@touch $@

-include $(shell find build/lint -name '*.d' 2>/dev/null)

format: ## what .clang-format would change (fails if anything)
	@clang-format --dry-run --Werror $(PROTOS) $(SRC) $(CMD_SRC) $(TEST_SRC) \
	    $(RANKS_SRC) $(SWEEP_SRC) $(NCCL_SRC) $(NO_GSL_SRC) $(TEST_HELP) $(BENCH_SRC) $(wildcard tests/fuzz/*.[ch]) \
	    tests/faults/preload.c $(wildcard gpu/*.cu gpu/*.cuh tests/cuda_on_cpu/*.cpp tests/cuda_on_cpu/*.h)

bench: setup ## print the benchmark figures (CSV)
	@$(MAKE) --no-print-directory $(many) moesim benches >&2
	@tests/bench/run $(B)

FUZZ_SECONDS ?= 60
fuzz: ## libFuzzer on every target of tests/fuzz, FUZZ_SECONDS each
	@$(MAKE) --no-print-directory $(many) CC=clang MODE=fuzz fuzzers
	@tests/fuzz/run build/clang-fuzz $(FUZZ_SECONDS)

# ---- the slow tier: .ci/run calls these after `make test` ----

threads: ## what uses threads; for MODE=tsan
	@$(MAKE) --no-print-directory $(many) moesim $(THREADED:%=$(B)/%)
	@tests/run $(B) $(THREADED) cli_digest cli_signal cli_sweep cli_tune

mpi: ## what runs on several MPI ranks
	@$(MAKE) --no-print-directory $(many) ranks
	@tests/run $(B) cli_ranks cli_sweep_ranks

papers: ## published tables against predictions; their fitted constants, fitted again
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/papers

guard: ## every baseline against what is predicted now; changes of the program, named by it
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/guard $(B)

page: ## pages of `moesim report`, opened in a browser without a window
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/page $(B)

baselines: ## store what is predicted now in validate/baselines; look at the difference in git
	@$(MAKE) --no-print-directory $(many) moesim
	@build/moesim check --update validate/baselines

DATA_TESTS = $(notdir $(basename \
    $(shell grep -lE 'MOESIM_(DATA|SLOW)|data_table' tests/test_*.c tests/cli_*.sh)))
data: ## the tests that read real data (MOESIM_DATA), the slow ones too with MOESIM_SLOW
	@$(MAKE) --no-print-directory $(many) moesim \
	    $(addprefix $(B)/,$(filter test_%,$(DATA_TESTS)))
	@: $${MOESIM_DATA:?names the folder of the real data}
	@tests/run $(B) $(DATA_TESTS)

package-check: ## the Python package: a wheel, a fresh environment, import, pandas, a figure
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/package $(B)

tune-check: ## what `moesim tune` finds in 60 runs against whole grids, 20 seeds of each of four spaces
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/tune $(B)

capture-check: ## `moesim capture` on tiny models of every architecture; MOESIM_CAPTURE_PYTHON has torch, or pip fetches it
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/capture $(B)

compare: ## hit counts and curves against libCacheSim's, on recorded routing (MOESIM_DATA)
	@$(MAKE) --no-print-directory $(many) moesim benches
	@tests/slow/compare $(B)
	@tests/slow/curve $(B)

instructions: ## instructions per expert activation, against those known
	@$(MAKE) --no-print-directory $(many) moesim $(B)/bench_replay
	@tests/slow/instructions $(B)

memory: ## replays 1 GiB of routing in 200 MB
	@$(MAKE) --no-print-directory $(many) moesim
	@tests/slow/memory $(B)

FAULTS ?= --most 60 --kills 6
faults: ## disk calls and allocations that fail, programs that are killed; FAULTS=FLAGS
	@$(MAKE) --no-print-directory $(many) moesim $(B)/faults.so
	@$(PYTHON) tests/faults/faults.py $(B)/moesim $(B)/faults.so $(FAULTS)

$(B)/faults.so: tests/faults/preload.c
	$(say) LINK $@
	$(Q)$(CC) -std=c17 -O1 $(WARN) -fPIC -shared -o $@ $<

valgrind: ## a small replay without a read of uninitialised memory
	@$(MAKE) --no-print-directory $(many) MODE=debug moesim
	@tests/slow/valgrind build/$(notdir $(CC))-debug

install: moesim ## copy the program and its data to $(prefix)
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/share/moesim
	install $(B)/moesim $(DESTDIR)$(prefix)/bin/moesim
	for d in models/arch models/machine sim/policy/presets plots traces/python \
	         traces/python/moesim traces/python/moesim/formats \
	         traces/python/moesim/capture traces/samples validate/papers; do \
	    install -d $(DESTDIR)$(prefix)/share/moesim/$$d && \
	    find $$d -maxdepth 1 -type f -exec \
	        install -m 644 {} $(DESTDIR)$(prefix)/share/moesim/$$d/ \; || exit 1; \
	done

clean: ## remove build/ and out/
	rm -rf build out

.PHONY: demo test moesim ranks help setup need-mpi tests objects flags benches fuzzers layers headers \
        lint analyzed format bench fuzz faults gpu sanitize-gpu emulate emulate-mutants cuda-flags gpu-kit \
        kit-check threads mpi papers guard page baselines data tune-check package-check capture-check compare instructions \
        memory valgrind install clean
.DELETE_ON_ERROR:
.SUFFIXES:

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hosted_lab.h"

#include <stdio.h>
#include <string.h>

void set_token_time(struct run_world *w, double us)
{
    w->machine.host.flops = 768e6 / us;
}

struct timed run_mode(const struct run_world *w, const char *policy, bool event)
{
    struct run_case c = {.policy = policy, .event_driven = event, .keep_passes = true};
    struct timed t = {.digest = 0};
    struct run_result r;

    run_world_run(w, &c, &r);
    assert_true(r.passes <= HOSTED_PASSES && w->layers <= HOSTED_LAYERS);
    rewind(r.pass_spool);
    assert_int_equal(fread(t.pass, sizeof *t.pass, r.passes, r.pass_spool), r.passes);
    t.passes = r.passes;
    t.digest = r.digest;
    t.host_busy = r.host_busy;
    t.copy_busy = r.copy_busy;
    for (uint32_t l = 0; l < w->layers; l++) {
        t.layer[l] = r.layer[l].counts;
        memcpy(t.share[l], r.layer[l].share, sizeof t.share[l]);
    }
    run_result_release(&r);
    return t;
}

struct timed run_both(const struct run_world *w, const char *policy)
{
    struct timed fifo = run_mode(w, policy, false);
    struct timed event = run_mode(w, policy, true);

    assert_int_equal(fifo.digest, event.digest);
    assert_memory_equal(fifo.pass, event.pass, sizeof fifo.pass);
    return fifo;
}

void check_pass(const struct run_pass *p, sim_time dense, sim_time expert, sim_time copy,
                sim_time wait, sim_time host)
{
    assert_int_equal(p->share[SHARE_DENSE], dense);
    assert_int_equal(p->share[SHARE_EXPERT], expert);
    assert_int_equal(p->share[SHARE_COPY], copy);
    assert_int_equal(p->share[SHARE_HOSTED], wait);
    assert_int_equal(p->share[SHARE_HOST], host);
    assert_int_equal(p->share[SHARE_COMM], 0);
    assert_int_equal(p->latency, dense + expert + copy + wait + host);
}

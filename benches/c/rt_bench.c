/*
 * Our side of the C suite, through runtime.h alone. `rt_bench echo` serves until it is killed (prints
 * `listening 127.0.0.1:PORT`); `rt_bench WORKLOAD` prints its results and ends. The workloads are those of uv_bench.c.
 */
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <libruntime/runtime.h>

#include "common.h"

enum { TIMERS = 1000000, FIRED = 200000, FIRED_OVER_MS = 100, WAKES = 20000, TURNS = 300000 };

#define NS_PER_MS 1000000ull

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, rt_strerror(rc));
        exit(1);
    }
}

static rt_loop *new_loop(void)
{
    rt_loop *loop;
    check(rt_loop_new(NULL, &loop), "rt_loop_new");
    return loop;
}
/* ---- echo ---- */

static void on_written(void *data, const rt_result *result)
{
    (void)result; /* an error ends the reading too */
    free(data);
}

/* What the socket does not take at once is copied and queued. */
static void on_received(void *data, const rt_result *result)
{
    rt_stream *stream = data;
    if (result->status < 0) {
        rt_stream_free(stream);
        return;
    }
    size_t n = (size_t)result->n, sent = 0;
    int rc = rt_stream_try_write(stream, result->ptr, n, &sent);
    if (sent == n)
        return;
    if (rc < 0 && rc != RT_EAGAIN) {
        rt_stream_free(stream);
        return;
    }
    char *copy = malloc(n - sent);
    die_if(!copy, "malloc");
    memcpy(copy, (char *)result->ptr + sent, n - sent);
    if (rt_stream_write(stream, copy, n - sent, NULL, on_written, copy, NULL) != RT_PENDING)
        free(copy);
}

static void on_accepted(void *data, const rt_result *result)
{
    (void)data;
    check(result->status, "accept");
    rt_stream_set_nodelay(result->ptr, 1);
    check(rt_stream_read_start(result->ptr, on_received, result->ptr, NULL), "rt_stream_read_start");
}

static void echo(rt_loop *loop)
{
    rt_listener *listener;
    char host[64];
    uint16_t port;
    check(rt_tcp_listen("127.0.0.1", 0, NULL, &listener), "rt_tcp_listen");
    check(rt_listener_local_addr(listener, host, sizeof host, &port), "rt_listener_local_addr");
    check(rt_listener_start(listener, NULL, loop, on_accepted, NULL, NULL), "rt_listener_start");
    printf("listening %s:%d\n", host, port);
    fflush(stdout);
    check(rt_loop_run(loop), "rt_loop_run");
    rt_listener_free(listener);
}

/* ---- timers ---- */

static void on_never(void *data)
{
    (void)data;
    fprintf(stderr, "a cancelled timer fired\n");
    exit(1);
}

static rt_timer **new_timers(rt_loop *loop, int count, rt_timer_fn fire, uint64_t (*delay)(int))
{
    rt_timer **timers = malloc((size_t)count * sizeof *timers);
    die_if(!timers, "malloc");
    for (int i = 0; i < count; i++) {
        check(rt_timer_new(loop, fire, &timers[i], NULL, &timers[i]), "rt_timer_new");
        check(rt_timer_start(timers[i], delay(i), 0), "rt_timer_start");
    }
    return timers;
}

static uint64_t within_an_hour(int i) { return (1000 + (uint64_t)i % 3600000) * NS_PER_MS; }

static uint64_t within_a_moment(int i) { return (1 + (uint64_t)i * FIRED_OVER_MS / FIRED) * NS_PER_MS; }

/* A million timers, deadlines spread over an hour, then all cancelled. */
static void timer_cancel(rt_loop *loop)
{
    uint64_t start = cpu_ns();
    rt_timer **timers = new_timers(loop, TIMERS, on_never, within_an_hour);
    uint64_t created = cpu_ns();
    for (int i = 0; i < TIMERS; i++)
        rt_timer_free(timers[i]);
    check(rt_loop_run(loop), "rt_loop_run");
    uint64_t done = cpu_ns();
    report("create", (double)(created - start) / TIMERS, "ns");
    report("create_cancel", (double)(done - start) / TIMERS, "ns");
    free(timers);
}

static void on_timer(void *data) { rt_timer_free(*(rt_timer **)data); }

/* Timers due all along a tenth of a second: CPU for one, from creation to the end of its callback. */
static void timer_fire(rt_loop *loop)
{
    uint64_t start = cpu_ns();
    rt_timer **timers = new_timers(loop, FIRED, on_timer, within_a_moment);
    check(rt_loop_run(loop), "rt_loop_run");
    report("create_fire", (double)(cpu_ns() - start) / FIRED, "ns");
    free(timers);
}

/* ---- wakes ---- */

/* Two loops on two threads, each posts to the other: one round trip is two wakes of a sleeping thread. */
struct side {
    rt_loop *loop;
    rt_timer *alive; /* far away: keeps the loop running until its wakes have come */
    struct side *other;
    int left;
};

static void on_wake(void *data)
{
    struct side *side = data;
    side->left--;
    check(rt_loop_post(side->other->loop, on_wake, side->other, NULL), "rt_loop_post");
    if (side->left == 0)
        check(rt_loop_stop(side->loop), "rt_loop_stop");
}

static void *run_side(void *data)
{
    check(rt_loop_run(((struct side *)data)->loop), "rt_loop_run");
    return NULL;
}

static void wake(void)
{
    static struct side sides[2];
    for (int i = 0; i < 2; i++) {
        sides[i] = (struct side){.loop = new_loop(), .other = &sides[1 - i], .left = WAKES};
        check(rt_timer_new(sides[i].loop, on_never, NULL, NULL, &sides[i].alive), "rt_timer_new");
        check(rt_timer_start(sides[i].alive, RT_FOREVER, 0), "rt_timer_start");
    }
    pthread_t thread;
    uint64_t start = wall_ns(), cpu = cpu_ns();
    die_if(pthread_create(&thread, NULL, run_side, &sides[1]) != 0, "pthread_create");
    check(rt_loop_post(sides[0].loop, on_wake, &sides[0], NULL), "rt_loop_post");
    run_side(&sides[0]);
    pthread_join(thread, NULL);
    report("round_trip", (double)(wall_ns() - start) / 1e3 / WAKES, "us");
    report("round_trip_cpu", (double)(cpu_ns() - cpu) / 1e3 / WAKES, "us");
    for (int i = 0; i < 2; i++) {
        rt_timer_free(sides[i].alive);
        rt_loop_free(sides[i].loop);
    }
}

/* A turn that finds nothing to do, with one far timer and one idle socket alive. */
static void on_ready(void *data, uint32_t ready) { (void)data, (void)ready; }

static void turn(rt_loop *loop)
{
    rt_timer *timer;
    check(rt_timer_new(loop, on_never, NULL, NULL, &timer), "rt_timer_new");
    check(rt_timer_start(timer, 3600 * NS_PER_S, 0), "rt_timer_start");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    die_if(listener < 0 || listen(listener, 1) < 0, "listen");
    rt_watch *watch;
    check(rt_watch_new(loop, listener, RT_READABLE, on_ready, NULL, NULL, &watch), "rt_watch_new");
    uint64_t start = cpu_ns();
    for (int i = 0; i < TURNS; i++)
        check(rt_loop_turn(loop, 0), "rt_loop_turn");
    report("turn", (double)(cpu_ns() - start) / TURNS, "ns");
    rt_watch_free(watch);
    rt_timer_free(timer);
    close(listener);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    rt_loop *loop = new_loop();
    if (strcmp(name, "echo") == 0)
        echo(loop);
    else if (strcmp(name, "timer-cancel") == 0)
        timer_cancel(loop);
    else if (strcmp(name, "timer-fire") == 0)
        timer_fire(loop);
    else if (strcmp(name, "wake") == 0)
        wake();
    else if (strcmp(name, "turn") == 0)
        turn(loop);
    else {
        fprintf(stderr, "usage: rt_bench echo|timer-cancel|timer-fire|wake|turn\n");
        return 2;
    }
    rt_loop_free(loop);
    return 0;
}

/*
 * libuv's side of the C suite. `uv_bench echo` serves until it is killed (prints `listening 127.0.0.1:PORT`);
 * `uv_bench WORKLOAD` prints its results and ends. Workloads: timer-cancel, timer-fire, wake, turn, version.
 */
#include <arpa/inet.h>
#include <string.h>
#include <uv.h>

#include "common.h"

enum { TIMERS = 1000000, FIRED = 200000, FIRED_OVER_MS = 100, WAKES = 20000, TURNS = 300000 };

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(rc));
        exit(1);
    }
}

/* ---- echo ---- */

/* One buffer for the whole loop, as a libuv server written for speed has it: data is sent on before the next read. */
static char buffer[64 * 1024];

struct write_copy {
    uv_write_t request;
    char bytes[];
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle, (void)suggested;
    *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_closed(uv_handle_t *handle) { free(handle); }

static void on_written(uv_write_t *request, int status)
{
    if (status < 0 && !uv_is_closing((uv_handle_t *)request->handle))
        uv_close((uv_handle_t *)request->handle, on_closed);
    free(request);
}

/* What the socket does not take at once is copied and queued. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n == 0)
        return;
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(stream, &out, 1);
    if (sent == n)
        return;
    size_t done = sent < 0 ? 0 : (size_t)sent, rest = (size_t)n - done;
    struct write_copy *copy = malloc(sizeof *copy + rest);
    die_if(!copy, "malloc");
    memcpy(copy->bytes, buf->base + done, rest);
    out = uv_buf_init(copy->bytes, (unsigned)rest);
    check(uv_write(&copy->request, stream, &out, 1, on_written), "uv_write");
}

static void on_connection(uv_stream_t *server, int status)
{
    check(status, "listen");
    uv_tcp_t *client = malloc(sizeof *client);
    die_if(!client, "malloc");
    check(uv_tcp_init(server->loop, client), "uv_tcp_init");
    check(uv_accept(server, (uv_stream_t *)client), "uv_accept");
    uv_tcp_nodelay(client, 1);
    check(uv_read_start((uv_stream_t *)client, on_alloc, on_read), "uv_read_start");
}

static void echo(uv_loop_t *loop)
{
    static uv_tcp_t server;
    struct sockaddr_in address;
    int length = sizeof address;
    check(uv_ip4_addr("127.0.0.1", 0, &address), "uv_ip4_addr");
    check(uv_tcp_init(loop, &server), "uv_tcp_init");
    check(uv_tcp_bind(&server, (struct sockaddr *)&address, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)&server, 1024, on_connection), "uv_listen");
    check(uv_tcp_getsockname(&server, (struct sockaddr *)&address, &length), "uv_tcp_getsockname");
    printf("listening 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    uv_run(loop, UV_RUN_DEFAULT);
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *timer) { uv_close((uv_handle_t *)timer, NULL); }

/* A million timers, deadlines spread over an hour, then all cancelled; their memory is the caller's. */
static void timer_cancel(uv_loop_t *loop)
{
    uv_timer_t *timers = malloc(TIMERS * sizeof *timers);
    die_if(!timers, "malloc");
    uint64_t start = cpu_ns();
    for (int i = 0; i < TIMERS; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_timer_start(&timers[i], on_timer, 1000 + (uint64_t)i % 3600000, 0);
    }
    uint64_t created = cpu_ns();
    for (int i = 0; i < TIMERS; i++)
        uv_close((uv_handle_t *)&timers[i], NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uint64_t done = cpu_ns();
    report("create", (double)(created - start) / TIMERS, "ns");
    report("create_cancel", (double)(done - start) / TIMERS, "ns");
    free(timers);
}

/* Timers due all along a tenth of a second: CPU for one, from creation to the end of its callback. */
static void timer_fire(uv_loop_t *loop)
{
    uv_timer_t *timers = malloc(FIRED * sizeof *timers);
    die_if(!timers, "malloc");
    uint64_t start = cpu_ns();
    for (int i = 0; i < FIRED; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_timer_start(&timers[i], on_timer, 1 + (uint64_t)i * FIRED_OVER_MS / FIRED, 0);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    report("create_fire", (double)(cpu_ns() - start) / FIRED, "ns");
    free(timers);
}

/* ---- wakes ---- */

/* Two loops on two threads, each wakes the other: one round trip is two wakes of a sleeping thread. */
struct side {
    uv_loop_t loop;
    uv_async_t async;
    struct side *other;
    int left;
};

static void on_wake(uv_async_t *async)
{
    struct side *side = async->data;
    if (side->left > 0) {
        side->left--;
        uv_async_send(&side->other->async);
    }
    if (side->left == 0)
        uv_close((uv_handle_t *)async, NULL);
}

static void run_side(void *arg) { uv_run(&((struct side *)arg)->loop, UV_RUN_DEFAULT); }

static void wake(void)
{
    static struct side sides[2];
    for (int i = 0; i < 2; i++) {
        sides[i].other = &sides[1 - i];
        sides[i].left = WAKES;
        check(uv_loop_init(&sides[i].loop), "uv_loop_init");
        check(uv_async_init(&sides[i].loop, &sides[i].async, on_wake), "uv_async_init");
        sides[i].async.data = &sides[i];
    }
    uv_thread_t thread;
    uint64_t start = wall_ns(), cpu = cpu_ns();
    check(uv_thread_create(&thread, run_side, &sides[1]), "uv_thread_create");
    uv_async_send(&sides[0].async);
    run_side(&sides[0]);
    uv_thread_join(&thread);
    report("round_trip", (double)(wall_ns() - start) / 1e3 / WAKES, "us");
    report("round_trip_cpu", (double)(cpu_ns() - cpu) / 1e3 / WAKES, "us");
}

/* A turn that finds nothing to do, with one far timer and one idle socket alive. */
static void turn(uv_loop_t *loop)
{
    static uv_timer_t timer;
    static uv_tcp_t socket;
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, on_timer, 3600000, 0);
    check(uv_tcp_init(loop, &socket), "uv_tcp_init");
    check(uv_tcp_bind(&socket, (struct sockaddr *)&address, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)&socket, 1, on_connection), "uv_listen");
    uint64_t start = cpu_ns();
    for (int i = 0; i < TURNS; i++)
        uv_run(loop, UV_RUN_NOWAIT);
    report("turn", (double)(cpu_ns() - start) / TURNS, "ns");
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    uv_loop_t *loop = uv_default_loop();
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
    else if (strcmp(name, "version") == 0)
        printf("%s\n", uv_version_string());
    else {
        fprintf(stderr, "usage: uv_bench echo|timer-cancel|timer-fire|wake|turn|version\n");
        return 2;
    }
    return 0;
}

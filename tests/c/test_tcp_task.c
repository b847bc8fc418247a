/* TCP inside tasks (poll shape), and on workers (callback shape); timers inside tasks. */
#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

static rt_runtime *runtime_new(unsigned workers) {
    rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT;
    rt_runtime *runtime = NULL;
    options.worker_threads = workers;
    OK(rt_runtime_new(&options, &runtime));
    return runtime;
}

static int dial(uint16_t port) {
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static void hang_up_with_reset(int fd) {
    struct linger linger = {1, 0};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    close(fd);
}

/* ---- an echo server of tasks ---- */

struct connection {
    rt_stream *stream;
    char buffer[4096];
    size_t length, sent;
};

static int echo(void *data, rt_context *cx, rt_result *result) {
    struct connection *c = data;
    (void)result;
    for (;;) {
        size_t n = 0;
        int status;
        if (c->sent < c->length) {
            status = rt_stream_poll_write(
                    c->stream, cx, c->buffer + c->sent, c->length - c->sent, &n);
            if (status != RT_OK) return status;
            c->sent += n;
            continue;
        }
        status = rt_stream_poll_read(c->stream, cx, c->buffer, sizeof c->buffer, &n);
        if (status != RT_OK) return status == RT_EOF ? RT_OK : status;
        c->length = n;
        c->sent = 0;
    }
}

static void connection_free(void *data) {
    struct connection *c = data;
    rt_stream_free(c->stream);
    free(c);
}

struct acceptor {
    rt_runtime *runtime;
    rt_listener *listener;
    int accepted;
};

static int accept_all(void *data, rt_context *cx, rt_result *result) {
    struct acceptor *a = data;
    rt_stream *stream;
    int status;
    (void)result;
    while ((status = rt_listener_poll_accept(a->listener, cx, &stream)) == RT_OK) {
        struct connection *c = calloc(1, sizeof *c);
        c->stream = stream;
        count_drop(&a->accepted);
        OK(rt_spawn(a->runtime, echo, c, connection_free, NULL, NULL));
    }
    return status;
}

struct client {
    uint16_t port;
    int connections;
};

static void *echo_client(void *data) {
    struct client *client = data;
    int i, k;
    for (i = 0; i < client->connections; i++) {
        char out[1500], in[1500];
        int fd = dial(client->port);
        for (k = 0; k < 3; k++) {
            memset(out, 'a' + (i + k) % 26, sizeof out);
            CHECK_EQ(write(fd, out, sizeof out), sizeof out);
            CHECK_EQ(recv(fd, in, sizeof in, MSG_WAITALL), sizeof in);
            CHECK(memcmp(in, out, sizeof in) == 0);
        }
        hang_up_with_reset(fd);
    }
    return NULL;
}

TEST(tasks_echo_on_many_connections) {
    struct acceptor a = {runtime_new(2), NULL, 0};
    struct client client = {0, 300};
    pthread_t threads[4];
    rt_task *accepting[2];
    int i;
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &a.listener));
    OK(rt_listener_local_addr(a.listener, NULL, 0, &client.port));
    /* Two tasks accept from one listener. */
    OK(rt_spawn(a.runtime, accept_all, &a, NULL, NULL, &accepting[0]));
    OK(rt_spawn(a.runtime, accept_all, &a, NULL, NULL, &accepting[1]));
    for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, echo_client, &client) == 0);
    for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ(count_of(&a.accepted), 1200);
    OK(rt_task_cancel(accepting[0]));
    rt_task_free(accepting[0]);
    rt_task_free(accepting[1]);
    rt_runtime_free(a.runtime);
    rt_listener_free(a.listener);
}

/* ---- connecting inside a task ---- */

struct dialer {
    rt_connect *connect;
    rt_stream *stream;
    char in[8];
    size_t have;
    int polls;
};

static int ping(void *data, rt_context *cx, rt_result *result) {
    struct dialer *d = data;
    size_t n;
    int status;
    (void)result;
    d->polls++;
    if (d->stream == NULL) {
        status = rt_connect_poll(d->connect, cx, &d->stream);
        if (status != RT_OK) return status;
        CHECK_EQ(rt_connect_poll(d->connect, cx, &d->stream), RT_EINVAL);
        OK(rt_stream_poll_write(d->stream, cx, "ping", 4, &n));
        CHECK_EQ(n, 4);
    }
    while (d->have < 4) {
        status = rt_stream_poll_read(d->stream, cx, d->in + d->have, 4 - d->have, &n);
        if (status != RT_OK) return status;
        d->have += n;
    }
    return RT_OK;
}

TEST(task_connects_by_name_and_is_answered) {
    struct acceptor a = {runtime_new(2), NULL, 0};
    struct dialer d;
    rt_result result;
    uint16_t port;
    int i;
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &a.listener));
    OK(rt_listener_local_addr(a.listener, NULL, 0, &port));
    OK(rt_spawn(a.runtime, accept_all, &a, NULL, NULL, NULL));
    for (i = 0; i < 2; i++) {
        memset(&d, 0, sizeof d);
        OK(rt_connect_new(a.runtime, i == 0 ? "127.0.0.1" : "localhost", port, &d.connect));
        OK(rt_block_on(a.runtime, ping, &d, NULL, &result));
        OK(result.status);
        CHECK(memcmp(d.in, "ping", 4) == 0);
        rt_stream_free(d.stream);
        rt_connect_free(d.connect);
    }
    CHECK_EQ(rt_connect_new(NULL, "localhost", port, &d.connect), RT_ENORUNTIME);
    rt_runtime_free(a.runtime);
    rt_listener_free(a.listener);
}

TEST(task_hears_that_nobody_listens) {
    rt_runtime *runtime = runtime_new(1);
    rt_listener *listener;
    struct dialer d;
    rt_result result;
    uint16_t port;
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    rt_listener_free(listener);
    memset(&d, 0, sizeof d);
    OK(rt_connect_new(NULL, "127.0.0.1", port, &d.connect));
    OK(rt_block_on(runtime, ping, &d, NULL, &result));
    CHECK_EQ(result.status, RT_ECONNREFUSED);
    rt_connect_free(d.connect);
    OK(rt_connect_new(runtime, "no-such-host.invalid", 80, &d.connect));
    OK(rt_block_on(runtime, ping, &d, NULL, &result));
    CHECK(result.status == RT_EAI_NONAME || result.status == RT_EAI_AGAIN
            || result.status == RT_EAI_FAIL);
    rt_connect_free(d.connect);
    rt_runtime_free(runtime);
}

struct writer {
    rt_stream *stream;
    int status;
};

static int write_until_it_fails(void *data, rt_context *cx, rt_result *result) {
    struct writer *w = data;
    static char memory[65536];
    rt_buf bufs[2] = {{memory, 30000}, {memory + 30000, 35536}};
    size_t n;
    int status;
    (void)result;
    do {
        status = rt_stream_poll_writev(w->stream, cx, bufs, 2, &n);
    } while (status == RT_OK);
    return status;
}

static int take_one(void *data, rt_context *cx, rt_result *result) {
    struct writer *w = data;
    (void)result;
    return rt_listener_poll_accept((rt_listener *)w->stream, cx, &w->stream);
}

/* A host in C has SIGPIPE at its default, which kills. */
TEST(peer_that_resets_while_a_task_writes_is_an_error) {
    rt_runtime *runtime = runtime_new(1);
    rt_listener *listener;
    struct writer w;
    rt_task *task;
    rt_result result;
    uint16_t port;
    int fd;
    signal(SIGPIPE, SIG_DFL);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    fd = dial(port);
    w.stream = (rt_stream *)listener;
    OK(rt_block_on(runtime, take_one, &w, NULL, &result));
    OK(result.status);
    OK(rt_spawn(runtime, write_until_it_fails, &w, NULL, NULL, &task));
    CHECK_EQ(rt_task_join(task, 10 * MS, &result), RT_ETIMEDOUT);
    hang_up_with_reset(fd);
    OK(rt_task_join(task, RT_FOREVER, &result));
    CHECK(result.status == RT_ECONNRESET || result.status == RT_EPIPE);
    rt_task_free(task);
    rt_stream_free(w.stream);
    rt_listener_free(listener);
    rt_runtime_free(runtime);
}

/* ---- callbacks on workers ---- */

struct served {
    rt_stream *stream;
    int drops, done, calls, status;
    long long bytes;
    char buffer[64];
    rt_result result;
    int accepted;
    int accept_status, failures;
};

static void on_drop(void *data) { count_drop(&((struct served *)data)->drops); }

static void on_accept(void *data, const rt_result *result) {
    struct served *s = data;
    if (result->status != RT_OK) {
        __atomic_store_n(&s->accept_status, result->status, __ATOMIC_SEQ_CST);
        count_drop(&s->failures);
        return;
    }
    s->stream = result->ptr;
    count_drop(&s->accepted);
}

static void on_done(void *data, const rt_result *result) {
    struct served *s = data;
    s->result = *result;
    count_drop(&s->done);
}

static void on_data(void *data, const rt_result *result) {
    struct served *s = data;
    if (result->status == RT_OK) {
        OK(rt_stream_write(s->stream, result->ptr, (size_t)result->n, NULL, on_done, s, NULL));
        s->bytes += result->n;
    }
    s->status = result->status;
    count_drop(&s->calls);
}

static void on_count(void *data, const rt_result *result) {
    struct served *s = data;
    if (result->status == RT_OK) s->bytes += result->n;
    count_drop(&s->calls);
}

static void wait_for(int *count, int wanted) {
    while (count_of(count) < wanted) sched_yield();
}

TEST(callbacks_on_workers_accept_read_and_write) {
    rt_runtime *runtime = runtime_new(2);
    rt_listener *listener;
    struct served s;
    char in[8];
    size_t n;
    uint16_t port;
    int fd;
    memset(&s, 0, sizeof s);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    CHECK_EQ(rt_listener_start(listener, runtime, NULL, on_accept, &s, on_drop), RT_PENDING);
    fd = dial(port);
    wait_for(&s.accepted, 1);
    CHECK_EQ(rt_stream_read(s.stream, s.buffer, 64, &n, on_done, &s, on_drop), RT_PENDING);
    CHECK_EQ(rt_stream_read(s.stream, s.buffer, 64, &n, on_done, &s, on_drop), RT_EBUSY);
    CHECK_EQ(s.drops, 1);
    CHECK_EQ(write(fd, "abc", 3), 3);
    wait_for(&s.drops, 2);
    CHECK_EQ(s.result.n, 3);
    CHECK(memcmp(s.buffer, "abc", 3) == 0);
    CHECK_EQ(rt_stream_read_start(s.stream, on_data, &s, on_drop), RT_PENDING);
    CHECK_EQ(write(fd, "ping", 4), 4);
    CHECK_EQ(recv(fd, in, 4, MSG_WAITALL), 4);
    CHECK(memcmp(in, "ping", 4) == 0);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    wait_for(&s.drops, 3);
    CHECK_EQ(s.status, RT_EOF);
    OK(rt_stream_shutdown(s.stream, NULL, NULL, NULL));
    CHECK_EQ(recv(fd, in, 1, 0), 0);
    rt_stream_free(s.stream);
    OK(rt_listener_stop(listener));
    wait_for(&s.drops, 4);
    close(fd);
    rt_listener_free(listener);
    rt_runtime_free(runtime);
}

static void *drain_slowly(void *data) {
    int fd = *(int *)data;
    static char buffer[1 << 16];
    long long total = 0;
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0) total += n;
    CHECK_EQ(n, 0);
    *(int *)data = (int)(total >> 10);
    return NULL;
}

TEST(queued_writes_on_workers_leave_in_order_and_end) {
    rt_runtime *runtime = runtime_new(2);
    rt_listener *listener;
    struct served s, w[20];
    char *memory = calloc(1, 1 << 20);
    pthread_t thread;
    size_t queued = 0;
    uint16_t port;
    int fd, i, pending = 0;
    memset(&s, 0, sizeof s);
    memset(w, 0, sizeof w);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    CHECK_EQ(rt_listener_start(listener, runtime, NULL, on_accept, &s, NULL), RT_PENDING);
    fd = dial(port);
    wait_for(&s.accepted, 1);
    for (i = 0; i < 20; i++) {
        int status = rt_stream_write(s.stream, memory, 1 << 20, NULL, on_done, &w[i], on_drop);
        CHECK(status == RT_OK || status == RT_PENDING);
        if (status == RT_PENDING) pending++;
    }
    CHECK(pending > 0);
    OK(rt_stream_queued(s.stream, &queued));
    CHECK(queued > 0);
    CHECK_EQ(rt_stream_shutdown(s.stream, on_done, &s, on_drop), RT_PENDING);
    rt_stream_free(s.stream);
    CHECK(pthread_create(&thread, NULL, drain_slowly, &fd) == 0);
    i = fd;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ(fd, 20 << 10);
    wait_for(&s.drops, 1);
    OK(s.result.status);
    close(i);
    for (i = 0; i < 20; i++) CHECK_EQ(w[i].drops, 1);
    free(memory);
    rt_listener_free(listener);
    rt_runtime_free(runtime);
}

TEST(operations_on_workers_are_cancelled_by_cancel_close_and_shutdown) {
    rt_runtime *runtime = runtime_new(2);
    rt_listener *listener;
    struct served s, r;
    char *memory = calloc(1, 1 << 23);
    size_t n;
    uint16_t port;
    int fd[3], i;
    memset(&s, 0, sizeof s);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    CHECK_EQ(rt_listener_start(listener, runtime, NULL, on_accept, &s, on_drop), RT_PENDING);
    for (i = 0; i < 3; i++) {
        memset(&r, 0, sizeof r);
        fd[i] = dial(port);
        wait_for(&s.accepted, i + 1);
        CHECK_EQ(rt_stream_read(s.stream, s.buffer, 64, &n, on_done, &r, on_drop), RT_PENDING);
        CHECK_EQ(rt_stream_write(s.stream, memory, 1 << 23, &n, on_done, &r, on_drop), RT_PENDING);
        if (i == 0) OK(rt_stream_cancel(s.stream));
        if (i == 1) OK(rt_stream_close(s.stream));
        if (i == 2) OK(rt_runtime_shutdown(runtime, RT_FOREVER, NULL));
        wait_for(&r.drops, 2);
        CHECK_EQ(r.done, 2);
        /* A read that is being polled while its stream is closed may see the end. */
        CHECK(r.result.status == RT_ECANCELED || (i == 1 && r.result.status == RT_EOF));
        if (i == 1) {
            CHECK_EQ(rt_stream_read(s.stream, s.buffer, 64, &n, on_done, &r, NULL), RT_EBADF);
            OK(rt_stream_close(s.stream));
        }
        if (i == 2)
            CHECK_EQ(rt_stream_read(s.stream, s.buffer, 64, &n, on_done, &r, NULL), RT_ESHUTDOWN);
        rt_stream_free(s.stream);
    }
    wait_for(&s.drops, 1);
    for (i = 0; i < 3; i++) close(fd[i]);
    free(memory);
    rt_listener_free(listener);
    rt_runtime_free(runtime);
}

TEST(reset_of_a_workers_stream_reaches_the_peer) {
    rt_runtime *runtime = runtime_new(1);
    rt_listener *listener;
    struct served s;
    char byte;
    uint16_t port;
    int fd;
    memset(&s, 0, sizeof s);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    CHECK_EQ(rt_listener_start(listener, runtime, NULL, on_accept, &s, NULL), RT_PENDING);
    fd = dial(port);
    wait_for(&s.accepted, 1);
    OK(rt_stream_reset(s.stream));
    CHECK(read(fd, &byte, 1) == -1 && errno == ECONNRESET);
    rt_stream_free(s.stream);
    close(fd);
    rt_listener_free(listener);
    rt_runtime_free(runtime);
}

TEST(connect_on_workers_calls_back) {
    struct acceptor a = {runtime_new(2), NULL, 0};
    struct served c;
    rt_op *op;
    uint16_t port;
    memset(&c, 0, sizeof c);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &a.listener));
    OK(rt_listener_local_addr(a.listener, NULL, 0, &port));
    OK(rt_spawn(a.runtime, accept_all, &a, NULL, NULL, NULL));
    CHECK_EQ(rt_tcp_connect(a.runtime, NULL, "localhost", port, on_done, &c, on_drop, NULL),
            RT_PENDING);
    wait_for(&c.drops, 1);
    OK(c.result.status);
    c.stream = c.result.ptr;
    OK(rt_stream_write(c.stream, "ping", 4, NULL, on_done, &c, NULL));
    CHECK_EQ(rt_stream_read_start(c.stream, on_count, &c, on_drop), RT_PENDING);
    wait_for(&c.calls, 1);
    CHECK_EQ(c.bytes, 4);
    OK(rt_stream_close(c.stream));
    wait_for(&c.drops, 2);
    rt_stream_free(c.stream);
    /* Cancelled while it waits for an answer that does not come. */
    c.done = 0;
    CHECK_EQ(rt_tcp_connect(a.runtime, NULL, "192.0.2.1", 9, on_done, &c, on_drop, &op), RT_PENDING);
    OK(rt_op_cancel(op));
    wait_for(&c.drops, 3);
    CHECK_EQ(c.done, 1);
    CHECK(c.result.status == RT_ECANCELED || c.result.status == -ENETUNREACH
            || c.result.status == RT_ECONNREFUSED);
    rt_op_free(op);
    CHECK_EQ(rt_tcp_connect(a.runtime, NULL, "127.0.0.1", 0, NULL, &c, on_drop, NULL), RT_EINVAL);
    CHECK_EQ(c.drops, 4);
    rt_runtime_free(a.runtime);
    rt_listener_free(a.listener);
}

TEST(no_descriptors_left_on_workers_is_told_and_survived) {
    rt_runtime *runtime = runtime_new(1);
    rt_listener *listener;
    struct served s;
    struct rlimit limit, small;
    int client, spare[256], count = 0, i;
    uint16_t port;
    memset(&s, 0, sizeof s);
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    CHECK_EQ(rt_listener_start(listener, runtime, NULL, on_accept, &s, NULL), RT_PENDING);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    small = limit;
    small.rlim_cur = 200;
    CHECK(setrlimit(RLIMIT_NOFILE, &small) == 0);
    while (count < 256 && (spare[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) count++;
    close(client);
    client = dial(port);
    while (!__atomic_load_n(&s.accept_status, __ATOMIC_SEQ_CST)) sched_yield();
    CHECK_EQ(s.accept_status, RT_EMFILE);
    CHECK_EQ(count_of(&s.accepted), 0);
    /* It looks again now and then, and does not spin: that would be thousands of times. */
    poll(NULL, 0, 200);
    CHECK(count_of(&s.failures) < 50);
    for (i = 0; i < count; i++) close(spare[i]);
    wait_for(&s.accepted, 1);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    rt_stream_free(s.stream);
    close(client);
    rt_listener_free(listener);
    rt_runtime_free(runtime);
}

/* ---- timers inside tasks, and tasks on a loop ---- */

struct sleeper {
    rt_sleep *sleep;
    uint64_t begun;
    int polls, drops;
};

static int sleep_once(void *data, rt_context *cx, rt_result *result) {
    struct sleeper *s = data;
    int status = rt_sleep_poll(s->sleep, cx);
    s->polls++;
    if (status == RT_OK) result->n = (int64_t)(rt_now_ns() - s->begun);
    return status;
}

static void sleeper_drop(void *data) { count_drop(&((struct sleeper *)data)->drops); }

TEST(task_sleeps_and_is_never_early) {
    rt_runtime *runtime = runtime_new(2);
    struct sleeper s = {NULL, 0, 0, 0};
    rt_task *task;
    rt_result result;
    s.begun = rt_now_ns();
    OK(rt_sleep_new(3 * MS, &s.sleep));
    OK(rt_spawn(runtime, sleep_once, &s, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, &result));
    OK(result.status);
    CHECK(result.n >= 3 * (long long)MS);
    CHECK(s.polls <= 3);
    rt_task_free(task);
    /* Set anew it is waited for again, on the thread of block_on as well. */
    s.begun = rt_now_ns();
    OK(rt_sleep_reset(s.sleep, 2 * MS));
    OK(rt_block_on(runtime, sleep_once, &s, NULL, &result));
    CHECK(result.n >= 2 * (long long)MS);
    rt_sleep_free(s.sleep);
    rt_runtime_free(runtime);
}

static void ignore_wake(void *data) { (void)data; }

TEST(sleep_outside_of_everything_is_refused) {
    rt_sleep *sleep;
    rt_waker *waker;
    rt_context *cx;
    OK(rt_waker_new(ignore_wake, NULL, NULL, &waker));
    OK(rt_context_new(waker, &cx));
    OK(rt_sleep_new(MS, &sleep));
    CHECK_EQ(rt_sleep_poll(sleep, cx), RT_ENORUNTIME);
    rt_sleep_free(sleep);
    rt_context_free(cx);
    rt_waker_free(waker);
}

TEST(local_task_runs_inside_turns_with_timers_and_sockets) {
    rt_loop *loop;
    rt_task *task;
    rt_result result;
    struct sleeper s = {NULL, 0, 0, 0};
    OK(rt_loop_new(NULL, &loop));
    s.begun = rt_now_ns();
    OK(rt_sleep_new(3 * MS, &s.sleep));
    OK(rt_spawn_local(loop, sleep_once, &s, sleeper_drop, NULL, &task));
    CHECK_EQ(s.polls, 0);
    CHECK_EQ(rt_loop_alive(loop), RT_PENDING);
    OK(rt_loop_run(loop));
    CHECK_EQ(s.drops, 1);
    OK(rt_task_join(task, 0, &result));
    OK(result.status);
    CHECK(result.n >= 3 * (long long)MS);
    rt_task_free(task);
    /* block_on turns the loop meanwhile. */
    s.begun = rt_now_ns();
    OK(rt_sleep_reset(s.sleep, 2 * MS));
    OK(rt_loop_block_on(loop, sleep_once, &s, NULL, &result));
    CHECK(result.n >= 2 * (long long)MS);
    rt_sleep_free(s.sleep);
    rt_loop_free(loop);
}

static int forever(void *data, rt_context *cx, rt_result *result) {
    (void)data;
    (void)cx;
    (void)result;
    return RT_PENDING;
}

struct deadlock {
    rt_loop *loop;
    rt_runtime *runtime;
    int loop_block_on, block_on, drops;
};

static void block_in_turn(void *data) {
    struct deadlock *d = data;
    d->loop_block_on = rt_loop_block_on(d->loop, forever, &d->drops, count_drop, NULL);
    d->block_on = rt_block_on(d->runtime, forever, &d->drops, count_drop, NULL);
}

TEST(blocking_inside_a_turn_is_refused) {
    struct deadlock d = {NULL, runtime_new(1), 0, 0, 0};
    OK(rt_loop_new(NULL, &d.loop));
    CHECK_EQ(rt_loop_post(d.loop, block_in_turn, &d, NULL), RT_PENDING);
    CHECK(rt_loop_turn(d.loop, 0) >= 0);
    CHECK_EQ(d.loop_block_on, RT_EDEADLK);
    CHECK_EQ(d.block_on, RT_EDEADLK);
    CHECK_EQ(d.drops, 2);
    rt_loop_free(d.loop);
    rt_runtime_free(d.runtime);
}

static void *spawn_from_outside(void *data) {
    int drops = 0;
    CHECK_EQ(rt_spawn_local(data, forever, &drops, count_drop, NULL, NULL), RT_EPERM);
    CHECK_EQ(drops, 1);
    return NULL;
}

TEST(local_tasks_end_with_their_loop) {
    rt_loop *loop;
    rt_task *task, *cancelled;
    rt_result result;
    pthread_t thread;
    int drops = 0;
    OK(rt_loop_new(NULL, &loop));
    CHECK(pthread_create(&thread, NULL, spawn_from_outside, loop) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    OK(rt_spawn_local(loop, forever, &drops, count_drop, NULL, &task));
    OK(rt_spawn_local(loop, forever, &drops, count_drop, NULL, &cancelled));
    CHECK(rt_loop_turn(loop, 0) >= 0);
    OK(rt_task_cancel(cancelled));
    CHECK(rt_loop_turn(loop, 0) >= 0);
    CHECK_EQ(drops, 1);
    OK(rt_task_join(cancelled, 0, &result));
    CHECK_EQ(result.status, RT_ECANCELED);
    rt_task_free(cancelled);
    rt_loop_free(loop);
    CHECK_EQ(drops, 2);
    OK(rt_task_join(task, 0, &result));
    CHECK_EQ(result.status, RT_ECANCELED);
    CHECK_EQ(rt_task_cancel(task), RT_EALREADY);
    rt_task_free(task);
}

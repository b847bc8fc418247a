/* Every function with handles that are none: NULL, freed, of another type, not of the library.
 *
 * A test of the header looks that every function which takes a handle stands in here. */
#include "check.h"

static int drops, submissions;

static void called(void) { check_fail(__FILE__, __LINE__, "a callback of a refused call ran", 0, 0); }
static int poll_fn(void *data, rt_context *cx, rt_result *result) {
    (void)data, (void)cx, (void)result;
    called();
    return RT_OK;
}
static int work_fn(void *data, rt_result *result) { return poll_fn(data, NULL, result); }
static void done_fn(void *data, const rt_result *result) { (void)data, (void)result, called(); }
static void void_fn(void *data) { (void)data, called(); }
static void ready_fn(void *data, uint32_t ready) { (void)data, (void)ready, called(); }
static void drop_fn(void *data) { (void)data, drops++; }

#define REFUSES(call) check_equal(__LINE__, call, RT_EINVAL)
/* A call that takes user data must drop it. */
#define DROPS(call) (submissions++, REFUSES(call), check_equal(__LINE__, drops, submissions))

static void check_equal(int line, long long actual, long long expected) {
    if (actual != expected) check_fail(__FILE__, line, "refused", actual, expected);
}

/* All that is needed beside the handle is right: it is the handle that is refused. */
static rt_runtime *runtime;
static rt_loop *loop;
static rt_context *cx;
static rt_waker *waker;

static void refuse_runtime(void *h) {
    rt_runtime *out;
    rt_task *task;
    DROPS(rt_spawn(h, poll_fn, NULL, drop_fn, NULL, &task));
    DROPS(rt_spawn_blocking(h, work_fn, NULL, drop_fn, NULL, &task));
    DROPS(rt_block_on(h, poll_fn, NULL, drop_fn, NULL));
    REFUSES(rt_runtime_clone(h, &out));
    REFUSES(rt_runtime_shutdown(h, 0, NULL));
    rt_runtime_free(h);
}

static void refuse_loop(void *h) {
    rt_loop *out;
    rt_task *task;
    rt_timer *timer;
    rt_watch *watch;
    uint64_t timeout;
    int fd;
    REFUSES(rt_loop_clone(h, &out));
    REFUSES(rt_loop_run(h));
    REFUSES(rt_loop_run_once(h));
    REFUSES(rt_loop_turn(h, 0));
    REFUSES(rt_loop_stop(h));
    REFUSES(rt_loop_alive(h));
    REFUSES(rt_loop_backend_fd(h, &fd));
    REFUSES(rt_loop_timeout_ns(h, &timeout));
    REFUSES(rt_loop_wake(h));
    REFUSES(rt_loop_after_fork(h));
    DROPS(rt_loop_set_notify(h, void_fn, NULL, drop_fn));
    DROPS(rt_loop_set_hooks(h, void_fn, void_fn, void_fn, NULL, drop_fn));
    DROPS(rt_loop_post(h, void_fn, NULL, drop_fn));
    DROPS(rt_spawn_local(h, poll_fn, NULL, drop_fn, NULL, &task));
    DROPS(rt_loop_block_on(h, poll_fn, NULL, drop_fn, NULL));
    DROPS(rt_timer_new(h, void_fn, NULL, drop_fn, &timer));
    DROPS(rt_watch_new(h, 0, RT_READABLE, ready_fn, NULL, drop_fn, &watch));
    rt_loop_free(h);
}

static void refuse_waker(void *h) {
    rt_context *out;
    CHECK(rt_waker_clone(h) == NULL);
    REFUSES(rt_context_new(h, &out));
    CHECK_EQ(rt_waker_will_wake(h, waker), 0);
    CHECK_EQ(rt_waker_will_wake(waker, h), 0);
    rt_waker_wake_by_ref(h);
    rt_waker_wake(h);
    rt_waker_free(h);
}

static void refuse_context(void *h) {
    CHECK(rt_context_waker(h) == NULL);
    rt_context_free(h);
}

static void refuse_task(void *h) {
    rt_task *out;
    REFUSES(rt_task_poll(h, cx, NULL));
    REFUSES(rt_task_join(h, 0, NULL));
    REFUSES(rt_task_cancel(h));
    REFUSES(rt_task_clone(h, &out));
    DROPS(rt_task_on_done(h, NULL, done_fn, NULL, drop_fn));
    rt_task_free(h);
}

static void refuse_timer(void *h) {
    REFUSES(rt_timer_start(h, 0, 0));
    REFUSES(rt_timer_stop(h));
    REFUSES(rt_timer_set_ref(h, 1));
    rt_timer_free(h);
}

static void refuse_sleep(void *h) {
    REFUSES(rt_sleep_poll(h, cx));
    REFUSES(rt_sleep_reset(h, 0));
    rt_sleep_free(h);
}

static void refuse_watch(void *h) {
    REFUSES(rt_watch_set(h, RT_READABLE));
    REFUSES(rt_watch_set_ref(h, 1));
    REFUSES(rt_watch_stop(h));
    rt_watch_free(h);
}

static void refuse_stream(void *h) {
    char memory[8];
    rt_buf buf = {memory, sizeof memory};
    rt_stream *out;
    uint16_t port;
    size_t n;
    REFUSES(rt_stream_poll_read(h, cx, memory, sizeof memory, &n));
    REFUSES(rt_stream_poll_write(h, cx, memory, sizeof memory, &n));
    REFUSES(rt_stream_poll_writev(h, cx, &buf, 1, &n));
    DROPS(rt_stream_read(h, memory, sizeof memory, &n, done_fn, NULL, drop_fn));
    DROPS(rt_stream_read_start(h, done_fn, NULL, drop_fn));
    REFUSES(rt_stream_read_stop(h));
    DROPS(rt_stream_write(h, memory, sizeof memory, &n, done_fn, NULL, drop_fn));
    DROPS(rt_stream_writev(h, &buf, 1, &n, done_fn, NULL, drop_fn));
    REFUSES(rt_stream_try_write(h, memory, sizeof memory, &n));
    REFUSES(rt_stream_queued(h, &n));
    DROPS(rt_stream_shutdown(h, done_fn, NULL, drop_fn));
    REFUSES(rt_stream_cancel(h));
    REFUSES(rt_stream_close(h));
    REFUSES(rt_stream_reset(h));
    REFUSES(rt_stream_local_addr(h, NULL, 0, &port));
    REFUSES(rt_stream_peer_addr(h, NULL, 0, &port));
    REFUSES(rt_stream_set_nodelay(h, 1));
    REFUSES(rt_stream_clone(h, &out));
    rt_stream_free(h);
}

static void refuse_listener(void *h) {
    rt_stream *stream;
    uint16_t port;
    REFUSES(rt_listener_local_addr(h, NULL, 0, &port));
    REFUSES(rt_listener_poll_accept(h, cx, &stream));
    DROPS(rt_listener_start(h, NULL, loop, done_fn, NULL, drop_fn));
    REFUSES(rt_listener_stop(h));
    REFUSES(rt_listener_set_ref(h, 1));
    rt_listener_free(h);
}

static void refuse_op(void *h) {
    REFUSES(rt_op_cancel(h));
    rt_op_free(h);
}

static void refuse_connect(void *h) {
    rt_stream *stream;
    REFUSES(rt_connect_poll(h, cx, &stream));
    rt_connect_free(h);
}

static void (*const refuse[])(void *) = {refuse_runtime, refuse_loop, refuse_waker, refuse_context,
        refuse_task, refuse_timer, refuse_sleep, refuse_watch, refuse_stream, refuse_listener,
        refuse_op, refuse_connect};
enum { KINDS = sizeof refuse / sizeof *refuse };

static void ignore_wake(void *data) { (void)data; }

static void set_up(void) {
    OK(rt_runtime_new(NULL, &runtime));
    OK(rt_loop_new(NULL, &loop));
    OK(rt_waker_new(ignore_wake, NULL, NULL, &waker));
    OK(rt_context_new(waker, &cx));
}

static void tear_down(void) {
    rt_context_free(cx);
    rt_waker_free(waker);
    rt_loop_free(loop);
    rt_runtime_free(runtime);
}

static int forever(void *data, rt_context *context, rt_result *result) {
    (void)data, (void)context, (void)result;
    return RT_PENDING;
}

static int pair[2];

static void close_result(void *data, const rt_result *result) {
    (void)data;
    rt_stream_free(result->ptr);
}

static int connect_now(void *data, rt_context *context, rt_result *result) {
    void **both = data;
    rt_stream *stream;
    int status = rt_connect_poll(both[0], context, &stream);
    (void)result;
    if (status == RT_OK) both[1] = stream;
    return status;
}

/* One live handle of each kind, in the order of `refuse`. */
static void make_all(void *handles[KINDS]) {
    rt_runtime *same_runtime;
    rt_loop *same_loop;
    rt_context *context;
    rt_listener *listener;
    rt_connect *connect;
    rt_stream *stream;
    rt_task *task;
    rt_timer *timer;
    rt_sleep *sleep;
    rt_watch *watch;
    rt_op *op;
    rt_result result;
    void *pair_of_connect[2];
    uint16_t port;
    int fd;
    OK(rt_runtime_clone(runtime, &same_runtime));
    OK(rt_loop_clone(loop, &same_loop));
    OK(rt_context_new(waker, &context));
    OK(rt_spawn(runtime, forever, NULL, NULL, NULL, &task));
    OK(rt_timer_new(loop, void_fn, NULL, NULL, &timer));
    OK(rt_sleep_new(0, &sleep));
    OK(rt_tcp_listen("127.0.0.1", 0, NULL, &listener));
    OK(rt_listener_local_addr(listener, NULL, 0, &port));
    OK(rt_connect_new(NULL, "127.0.0.1", port, &connect));
    pair_of_connect[0] = connect;
    OK(rt_block_on(runtime, connect_now, pair_of_connect, NULL, &result));
    OK(result.status);
    stream = pair_of_connect[1];
    CHECK(pipe(pair) == 0);
    fd = pair[0];
    OK(rt_watch_new(loop, fd, 0, ready_fn, NULL, NULL, &watch));
    CHECK_EQ(rt_tcp_connect(NULL, loop, "127.0.0.1", port, close_result, NULL, NULL, &op), RT_PENDING);
    handles[0] = same_runtime;
    handles[1] = same_loop;
    handles[2] = rt_waker_clone(waker);
    handles[3] = context;
    handles[4] = task;
    handles[5] = timer;
    handles[6] = sleep;
    handles[7] = watch;
    handles[8] = stream;
    handles[9] = listener;
    handles[10] = op;
    handles[11] = connect;
}

static void free_all(void *handles[KINDS]) {
    rt_runtime_free(handles[0]);
    rt_loop_free(handles[1]);
    rt_waker_free(handles[2]);
    rt_context_free(handles[3]);
    rt_task_free(handles[4]);
    rt_timer_free(handles[5]);
    rt_sleep_free(handles[6]);
    rt_watch_free(handles[7]);
    rt_stream_free(handles[8]);
    rt_listener_free(handles[9]);
    rt_op_free(handles[10]);
    rt_connect_free(handles[11]);
}

TEST(null_is_refused_by_every_function) {
    int i;
    set_up();
    for (i = 0; i < KINDS; i++) refuse[i](NULL);
    tear_down();
}

TEST(memory_that_is_no_handle_is_refused) {
    static _Alignas(32) char memory[128];
    int i;
    set_up();
    for (i = 0; i < KINDS; i++) {
        refuse[i](memory);
        refuse[i](memory + 4);
        memset(memory, 0xff, sizeof memory);
        refuse[i](memory);
        memset(memory, 0, sizeof memory);
    }
    tear_down();
}

TEST(handles_of_another_type_are_refused_and_left_alone) {
    void *handles[KINDS];
    size_t live;
    int i, k;
    set_up();
    make_all(handles);
    live = rt_handles_live();
    for (i = 0; i < KINDS; i++)
        for (k = 0; k < KINDS; k++)
            if (i != k) refuse[i](handles[k]);
    CHECK_EQ(rt_handles_live(), live);
    free_all(handles);
    close(pair[0]);
    close(pair[1]);
    CHECK(rt_loop_turn(loop, 0) >= 0);
    tear_down();
}

TEST(freed_handles_are_refused) {
    void *handles[KINDS];
    int i;
    set_up();
    make_all(handles);
    free_all(handles);
    for (i = 0; i < KINDS; i++) refuse[i](handles[i]);
    close(pair[0]);
    close(pair[1]);
    CHECK(rt_loop_turn(loop, 0) >= 0);
    tear_down();
}

TEST(places_for_results_that_are_missing_are_refused) {
    set_up();
    REFUSES(rt_runtime_new(NULL, NULL));
    REFUSES(rt_runtime_clone(runtime, NULL));
    REFUSES(rt_loop_new(NULL, NULL));
    REFUSES(rt_loop_clone(loop, NULL));
    REFUSES(rt_loop_backend_fd(loop, NULL));
    REFUSES(rt_loop_timeout_ns(loop, NULL));
    REFUSES(rt_context_new(waker, NULL));
    DROPS(rt_waker_new(void_fn, NULL, drop_fn, NULL));
    DROPS(rt_timer_new(loop, void_fn, NULL, drop_fn, NULL));
    REFUSES(rt_sleep_new(0, NULL));
    DROPS(rt_watch_new(loop, 0, RT_READABLE, ready_fn, NULL, drop_fn, NULL));
    REFUSES(rt_tcp_listen("127.0.0.1", 0, NULL, NULL));
    REFUSES(rt_connect_new(NULL, "127.0.0.1", 1, NULL));
    tear_down();
}

TEST(functions_that_are_missing_are_refused) {
    rt_waker *new_waker;
    rt_timer *timer;
    rt_watch *watch;
    rt_task *task;
    set_up();
    DROPS(rt_waker_new(NULL, NULL, drop_fn, &new_waker));
    DROPS(rt_timer_new(loop, NULL, NULL, drop_fn, &timer));
    DROPS(rt_watch_new(loop, 0, RT_READABLE, NULL, NULL, drop_fn, &watch));
    DROPS(rt_watch_new(loop, 0, 64, ready_fn, NULL, drop_fn, &watch));
    DROPS(rt_loop_post(loop, NULL, NULL, drop_fn));
    DROPS(rt_spawn_local(loop, NULL, NULL, drop_fn, NULL, &task));
    DROPS(rt_loop_block_on(loop, NULL, NULL, drop_fn, NULL));
    tear_down();
}

/* Event loops: turns, run and stop, embedding, posts and wakes, hooks, threads. */
#include "check.h"

#include <pthread.h>
#include <signal.h>

static rt_loop *loop_new(void) {
    rt_loop *loop = NULL;
    OK(rt_loop_new(NULL, &loop));
    CHECK(loop != NULL);
    return loop;
}

static void nothing(void *data) { (void)data; }

static void increment(void *data) { ++*(int *)data; }

static void unexpected(void *data, uint32_t ready) {
    (void)data;
    check_fail(__FILE__, __LINE__, "called", (long long)ready, 0);
}

TEST(run_without_work_returns_at_once) {
    rt_loop *loop = loop_new();
    OK(rt_loop_run(loop));
    OK(rt_loop_run_once(loop));
    OK(rt_loop_alive(loop));
    rt_loop_free(loop);
}

TEST(run_once_waits_for_one_event_and_a_turn_without_time_never_waits) {
    rt_loop *loop = loop_new();
    rt_timer *timer;
    int fired = 0;
    uint64_t begun;
    OK(rt_timer_new(loop, increment, &fired, NULL, &timer));
    OK(rt_timer_start(timer, 100000 * MS, 0));
    OK(rt_loop_turn(loop, 0));
    CHECK_EQ(fired, 0);
    CHECK_EQ(rt_loop_alive(loop), RT_PENDING);
    begun = rt_now_ns();
    OK(rt_timer_start(timer, 20 * MS, 0));
    while (fired == 0) CHECK(rt_loop_run_once(loop) >= 0);
    CHECK(rt_now_ns() - begun >= 20 * MS);
    OK(rt_loop_alive(loop));
    rt_timer_free(timer);
    rt_loop_free(loop);
}

TEST(stop_before_run_is_honoured_once) {
    rt_loop *loop = loop_new();
    rt_timer *timer;
    int fired = 0;
    OK(rt_timer_new(loop, increment, &fired, NULL, &timer));
    OK(rt_timer_start(timer, 0, 0));
    OK(rt_loop_stop(loop));
    CHECK_EQ(rt_loop_run(loop), RT_PENDING);
    CHECK_EQ(fired, 0);
    OK(rt_loop_run(loop));
    CHECK_EQ(fired, 1);
    rt_timer_free(timer);
    rt_loop_free(loop);
}

TEST(what_is_not_referenced_does_not_keep_the_loop) {
    rt_loop *loop = loop_new();
    rt_timer *timer;
    rt_watch *watch;
    int fired = 0, pair[2];
    CHECK(pipe(pair) == 0);
    OK(rt_timer_new(loop, increment, &fired, NULL, &timer));
    OK(rt_timer_start(timer, 10000 * MS, 0));
    OK(rt_watch_new(loop, pair[0], RT_READABLE, unexpected, NULL, NULL, &watch));
    CHECK_EQ(rt_loop_alive(loop), RT_PENDING);
    OK(rt_timer_set_ref(timer, 0));
    CHECK_EQ(rt_loop_alive(loop), RT_PENDING);
    OK(rt_watch_set_ref(watch, 0));
    OK(rt_loop_alive(loop));
    OK(rt_loop_run(loop));
    CHECK_EQ(fired, 0);
    OK(rt_watch_set_ref(watch, 1));
    OK(rt_watch_set_ref(watch, 1));
    CHECK_EQ(rt_loop_alive(loop), RT_PENDING);
    rt_watch_free(watch);
    OK(rt_loop_alive(loop));
    rt_timer_free(timer);
    close(pair[0]);
    close(pair[1]);
    rt_loop_free(loop);
}

struct reentry {
    rt_loop *loop;
    int turn, run, once;
};

static void reenter(void *data) {
    struct reentry *r = data;
    r->turn = rt_loop_turn(r->loop, 0);
    r->run = rt_loop_run(r->loop);
    r->once = rt_loop_run_once(r->loop);
}

TEST(a_turn_inside_a_turn_is_refused) {
    struct reentry r = {loop_new(), 0, 0, 0};
    CHECK_EQ(rt_loop_post(r.loop, reenter, &r, NULL), RT_PENDING);
    CHECK(rt_loop_turn(r.loop, 0) >= 0);
    CHECK_EQ(r.turn, RT_EBUSY);
    CHECK_EQ(r.run, RT_EBUSY);
    CHECK_EQ(r.once, RT_EBUSY);
    rt_loop_free(r.loop);
}

struct embedded {
    rt_loop *loop;
    int fired, read, posted;
    int pair[2];
};

static void on_fire(void *data) { ((struct embedded *)data)->fired++; }

static void on_post(void *data) { ((struct embedded *)data)->posted++; }

static void on_ready(void *data, uint32_t ready) {
    struct embedded *e = data;
    char byte;
    CHECK(ready & RT_READABLE);
    CHECK_EQ(read(e->pair[0], &byte, 1), 1);
    e->read++;
}

static void *post_from_outside(void *data) {
    struct embedded *e = data;
    CHECK_EQ(rt_loop_post(e->loop, on_post, e, NULL), RT_PENDING);
    return NULL;
}

/* A host that only sleeps on the descriptor, without a timeout of its own. */
TEST(one_descriptor_drives_timers_watches_and_posts) {
    struct embedded e = {loop_new(), 0, 0, 0, {0, 0}};
    rt_timer *timer;
    rt_watch *watch;
    pthread_t thread;
    struct pollfd p;
    int fd = -1;
    CHECK(pipe(e.pair) == 0);
    OK(rt_loop_backend_fd(e.loop, &fd));
    OK(rt_timer_new(e.loop, on_fire, &e, NULL, &timer));
    OK(rt_timer_start(timer, 5 * MS, 0));
    OK(rt_watch_new(e.loop, e.pair[0], RT_READABLE, on_ready, &e, NULL, &watch));
    p.fd = fd;
    p.events = POLLIN;
    while (e.fired == 0) {
        CHECK_EQ(poll(&p, 1, 10000), 1);
        CHECK(rt_loop_turn(e.loop, 0) >= 0);
    }
    CHECK_EQ(write(e.pair[1], "x", 1), 1);
    CHECK_EQ(poll(&p, 1, 10000), 1);
    CHECK(rt_loop_turn(e.loop, 0) >= 0);
    CHECK_EQ(e.read, 1);
    CHECK(pthread_create(&thread, NULL, post_from_outside, &e) == 0);
    CHECK_EQ(poll(&p, 1, 10000), 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(rt_loop_turn(e.loop, 0) >= 0);
    CHECK_EQ(e.posted, 1);
    /* A timer that is set between turns, to an earlier time than the alarm's, wakes the host. */
    OK(rt_timer_start(timer, 10000 * MS, 0));
    CHECK(rt_loop_turn(e.loop, 0) >= 0);
    OK(rt_timer_start(timer, 5 * MS, 0));
    while (e.fired == 1) {
        CHECK_EQ(poll(&p, 1, 10000), 1);
        CHECK(rt_loop_turn(e.loop, 0) >= 0);
    }
    /* With nothing to do it is silent. */
    OK(rt_loop_turn(e.loop, 0));
    CHECK_EQ(poll(&p, 1, 0), 0);
    rt_watch_free(watch);
    rt_timer_free(timer);
    close(e.pair[0]);
    close(e.pair[1]);
    rt_loop_free(e.loop);
}

TEST(timeout_says_how_long_a_turn_would_wait) {
    rt_loop *loop = loop_new();
    rt_timer *timer;
    uint64_t timeout = 0;
    int fired = 0;
    OK(rt_loop_timeout_ns(loop, &timeout));
    CHECK(timeout == RT_FOREVER);
    OK(rt_timer_new(loop, increment, &fired, NULL, &timer));
    OK(rt_timer_start(timer, 1000 * MS, 0));
    OK(rt_loop_timeout_ns(loop, &timeout));
    CHECK(timeout > 500 * MS && timeout <= 1001 * MS);
    CHECK_EQ(rt_loop_post(loop, nothing, NULL, NULL), RT_PENDING);
    OK(rt_loop_timeout_ns(loop, &timeout));
    CHECK_EQ(timeout, 0);
    rt_timer_free(timer);
    rt_loop_free(loop);
}

static void on_notify(void *data) { __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST); }

TEST(notify_comes_once_until_the_next_turn) {
    rt_loop *loop = loop_new();
    int notified = 0, posted = 0, dropped = 0;
    OK(rt_loop_set_notify(loop, on_notify, &notified, NULL));
    CHECK_EQ(rt_loop_post(loop, increment, &posted, NULL), RT_PENDING);
    CHECK_EQ(rt_loop_post(loop, increment, &posted, NULL), RT_PENDING);
    OK(rt_loop_wake(loop));
    CHECK_EQ(notified, 1);
    CHECK(rt_loop_turn(loop, 0) >= 0);
    CHECK_EQ(posted, 2);
    OK(rt_loop_wake(loop));
    CHECK_EQ(notified, 2);
    OK(rt_loop_set_notify(loop, NULL, &dropped, count_drop));
    CHECK_EQ(dropped, 1);
    CHECK(rt_loop_turn(loop, 0) >= 0);
    OK(rt_loop_wake(loop));
    CHECK_EQ(notified, 2);
    rt_loop_free(loop);
}

struct hooks {
    char order[64];
    int length, dropped;
};

static void note(struct hooks *h, char letter) {
    if (h->length < 63) h->order[h->length++] = letter;
}

static void before_wait(void *data) { note(data, 'b'); }
static void after_wait(void *data) { note(data, 'a'); }
static void after_turn(void *data) { note(data, 't'); }
static void in_timer(void *data) { note(data, 'T'); }
static void in_post(void *data) { note(data, 'P'); }
static void hooks_dropped(void *data) { ((struct hooks *)data)->dropped++; }

static void in_watch(void *data, uint32_t ready) {
    (void)ready;
    note(data, 'W');
}

TEST(a_turn_has_its_order) {
    rt_loop *loop = loop_new();
    struct hooks h = {{0}, 0, 0};
    rt_timer *timer;
    rt_watch *watch;
    int pair[2];
    CHECK(pipe(pair) == 0 && write(pair[1], "x", 1) == 1);
    OK(rt_loop_set_hooks(loop, before_wait, after_wait, after_turn, &h, hooks_dropped));
    OK(rt_watch_new(loop, pair[0], RT_READABLE, in_watch, &h, NULL, &watch));
    OK(rt_timer_new(loop, in_timer, &h, NULL, &timer));
    OK(rt_timer_start(timer, 0, 0));
    CHECK_EQ(rt_loop_post(loop, in_post, &h, NULL), RT_PENDING);
    CHECK(rt_loop_turn(loop, 0) >= 0);
    CHECK(strcmp(h.order, "PTWt") == 0);
    /* The hooks of the wait run when a turn may really wait. */
    memset(h.order, 0, sizeof h.order);
    h.length = 0;
    CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
    CHECK(strcmp(h.order, "baWt") == 0);
    rt_watch_free(watch);
    rt_timer_free(timer);
    rt_loop_free(loop);
    CHECK_EQ(h.dropped, 1);
    close(pair[0]);
    close(pair[1]);
}

struct many_wakes {
    rt_loop *loop;
    int sent, seen, done;
};

static void *send_many(void *data) {
    struct many_wakes *w = data;
    int i;
    for (i = 0; i < 20000; i++) {
        __atomic_add_fetch(&w->sent, 1, __ATOMIC_RELAXED);
        OK(rt_loop_wake(w->loop));
    }
    __atomic_add_fetch(&w->done, 1, __ATOMIC_SEQ_CST);
    OK(rt_loop_wake(w->loop));
    return NULL;
}

/* Each wake causes a turn that sees what was written before it: none is lost. */
TEST(wakes_from_eight_threads_are_not_lost) {
    struct many_wakes w = {loop_new(), 0, 0, 0};
    pthread_t threads[8];
    int i;
    for (i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, send_many, &w) == 0);
    while (count_of(&w.done) < 8) CHECK(rt_loop_turn(w.loop, RT_FOREVER) >= 0);
    CHECK_EQ(count_of(&w.sent), 160000);
    for (i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    rt_loop_free(w.loop);
}

static void *post_many(void *data) {
    struct many_wakes *w = data;
    int i;
    for (i = 0; i < 5000; i++)
        CHECK_EQ(rt_loop_post(w->loop, increment, &w->seen, NULL), RT_PENDING);
    return NULL;
}

TEST(posts_from_four_threads_all_arrive) {
    struct many_wakes w = {loop_new(), 0, 0, 0};
    pthread_t threads[4];
    int i;
    for (i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, post_many, &w) == 0);
    while (w.seen < 20000) CHECK(rt_loop_turn(w.loop, RT_FOREVER) >= 0);
    for (i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    rt_loop_free(w.loop);
}

static rt_loop *signalled_loop;
static volatile sig_atomic_t signal_status = 1;

static void on_signal(int number) {
    (void)number;
    signal_status = rt_loop_wake(signalled_loop);
}

TEST(a_signal_handler_may_wake) {
    struct sigaction action;
    int fd;
    struct pollfd p;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    signalled_loop = loop_new();
    OK(rt_loop_backend_fd(signalled_loop, &fd));
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0);
    OK(signal_status);
    p.fd = fd;
    p.events = POLLIN;
    CHECK_EQ(poll(&p, 1, 10000), 1);
    CHECK(rt_loop_turn(signalled_loop, 0) >= 0);
    rt_loop_free(signalled_loop);
}

struct racing {
    rt_loop *loop;
    int go;
};

static void *wake_and_free(void *data) {
    struct racing *r = data;
    int i;
    for (i = 0; i < 1000; i++) OK(rt_loop_wake(r->loop));
    rt_loop_free(r->loop);
    return NULL;
}

TEST(a_wake_on_a_clone_may_race_the_last_free) {
    int i;
    for (i = 0; i < 50; i++) {
        rt_loop *loop = loop_new();
        struct racing r = {NULL, 0};
        pthread_t thread;
        OK(rt_loop_clone(loop, &r.loop));
        CHECK(pthread_create(&thread, NULL, wake_and_free, &r) == 0);
        CHECK(rt_loop_turn(loop, 0) >= 0);
        rt_loop_free(loop);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

static void *use_from_outside(void *data) {
    rt_loop *loop = data;
    rt_timer *timer = NULL;
    rt_watch *watch = NULL;
    int fd, dropped = 0;
    uint64_t timeout;
    CHECK_EQ(rt_loop_alive(loop), RT_EPERM);
    CHECK_EQ(rt_loop_backend_fd(loop, &fd), RT_EPERM);
    CHECK_EQ(rt_loop_timeout_ns(loop, &timeout), RT_EPERM);
    CHECK_EQ(rt_timer_new(loop, nothing, &dropped, count_drop, &timer), RT_EPERM);
    CHECK_EQ(rt_watch_new(loop, 0, RT_READABLE, in_watch, &dropped, count_drop, &watch), RT_EPERM);
    CHECK_EQ(rt_loop_set_notify(loop, nothing, &dropped, count_drop), RT_EPERM);
    CHECK_EQ(rt_loop_set_hooks(loop, nothing, NULL, NULL, &dropped, count_drop), RT_EPERM);
    CHECK_EQ(dropped, 4);
    CHECK(timer == NULL && watch == NULL);
    return NULL;
}

TEST(another_thread_is_refused) {
    rt_loop *loop = loop_new();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_from_outside, loop) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    rt_loop_free(loop);
}

TEST(freeing_the_loop_drops_what_is_pending) {
    rt_loop *loop = loop_new();
    rt_timer *timer;
    rt_watch *watch;
    int dropped = 0, pair[2];
    CHECK(pipe(pair) == 0);
    OK(rt_timer_new(loop, nothing, &dropped, count_drop, &timer));
    OK(rt_timer_start(timer, 1000 * MS, 0));
    OK(rt_watch_new(loop, pair[0], RT_READABLE, in_watch, &dropped, count_drop, &watch));
    CHECK_EQ(rt_loop_post(loop, nothing, &dropped, count_drop), RT_PENDING);
    rt_loop_free(loop);
    CHECK_EQ(dropped, 3);
    CHECK_EQ(rt_timer_start(timer, 0, 0), RT_ESHUTDOWN);
    CHECK_EQ(rt_watch_set(watch, RT_WRITABLE), RT_ESHUTDOWN);
    rt_timer_free(timer);
    rt_watch_free(watch);
    close(pair[0]);
    close(pair[1]);
}

static void free_loop(void *data) { rt_loop_free(data); }

TEST(a_callback_may_free_its_loop) {
    rt_loop *loop = loop_new(), *clone;
    OK(rt_loop_clone(loop, &clone));
    CHECK_EQ(rt_loop_post(loop, free_loop, clone, NULL), RT_PENDING);
    CHECK_EQ(rt_loop_post(loop, free_loop, loop, NULL), RT_PENDING);
    CHECK(rt_loop_turn(loop, 0) >= 0);
}

/* A source that is always ready leaves the others their turn. */
struct busy {
    rt_timer *always;
    int spins, fired;
};

static void spin(void *data) {
    struct busy *b = data;
    b->spins++;
    OK(rt_timer_start(b->always, 0, 0));
}

static void on_busy_fire(void *data) { ((struct busy *)data)->fired = 1; }

TEST(a_source_that_is_always_ready_starves_nobody) {
    rt_loop *loop = loop_new();
    struct busy b = {NULL, 0, 0};
    rt_timer *timer;
    rt_watch *watch;
    struct embedded e = {loop, 0, 0, 0, {0, 0}};
    CHECK(pipe(e.pair) == 0 && write(e.pair[1], "x", 1) == 1);
    OK(rt_timer_new(loop, spin, &b, NULL, &b.always));
    OK(rt_timer_start(b.always, 0, 0));
    OK(rt_timer_new(loop, on_busy_fire, &b, NULL, &timer));
    OK(rt_timer_start(timer, 2 * MS, 0));
    OK(rt_watch_new(loop, e.pair[0], RT_READABLE, on_ready, &e, NULL, &watch));
    while (!b.fired || e.read == 0 || b.spins < 10) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
    rt_watch_free(watch);
    rt_timer_free(timer);
    rt_timer_free(b.always);
    close(e.pair[0]);
    close(e.pair[1]);
    rt_loop_free(loop);
}

TEST(loops_share_nothing) {
    rt_loop *a = loop_new(), *b = loop_new();
    int seen_a = 0, seen_b = 0;
    CHECK_EQ(rt_loop_post(a, increment, &seen_a, NULL), RT_PENDING);
    OK(rt_loop_turn(b, 0));
    CHECK_EQ(seen_a, 0);
    CHECK_EQ(rt_loop_post(b, increment, &seen_b, NULL), RT_PENDING);
    CHECK(rt_loop_turn(a, 0) >= 0);
    CHECK_EQ(seen_a, 1);
    CHECK_EQ(seen_b, 0);
    rt_loop_free(a);
    rt_loop_free(b);
}

TEST(descriptors_are_closed_on_exec) {
    rt_loop *loop = loop_new();
    char command[64];
    int fd, before, status;
    OK(rt_loop_backend_fd(loop, &fd));
    snprintf(command, sizeof command, "test ! -e /proc/self/fd/%d", fd);
    before = fd;
    status = system(command);
    CHECK(before > 2 && WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    rt_loop_free(loop);
}

/* Tasks, wakers and blocking jobs: the task contract of the header. */
#include "check.h"

#include <pthread.h>

static rt_runtime *runtime_new(unsigned workers) {
    rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT;
    rt_runtime *runtime = NULL;
    options.worker_threads = workers;
    OK(rt_runtime_new(&options, &runtime));
    return runtime;
}

/* A task that says pending until it was polled `wanted` times, and leaves its waker. */
struct stepper {
    rt_waker *waker; /* left by the last poll that was pending */
    pthread_mutex_t lock;
    int polls, wanted, status, drops, done, wake_self, drops_at_done;
    rt_result result;
    rt_task *task;
};

static void stepper_init(struct stepper *s, int wanted) {
    memset(s, 0, sizeof *s);
    s->wanted = wanted;
    pthread_mutex_init(&s->lock, NULL);
}

static int step(void *data, rt_context *cx, rt_result *result) {
    struct stepper *s = data;
    rt_waker *waker = rt_waker_clone(rt_context_waker(cx)), *old;
    int polls = __atomic_add_fetch(&s->polls, 1, __ATOMIC_SEQ_CST);
    CHECK(waker != NULL);
    if (s->wake_self) rt_waker_wake_by_ref(waker);
    if (polls >= s->wanted) {
        rt_waker_free(waker);
        result->n = polls;
        return s->status;
    }
    pthread_mutex_lock(&s->lock);
    old = s->waker;
    s->waker = waker;
    pthread_mutex_unlock(&s->lock);
    rt_waker_free(old);
    return RT_PENDING;
}

static void step_drop(void *data) {
    struct stepper *s = data;
    pthread_mutex_lock(&s->lock);
    rt_waker_free(s->waker);
    s->waker = NULL;
    pthread_mutex_unlock(&s->lock);
    __atomic_add_fetch(&s->drops, 1, __ATOMIC_SEQ_CST);
}

static void step_done(void *data, const rt_result *result) {
    struct stepper *s = data;
    s->drops_at_done = count_of(&s->drops);
    s->result = *result;
    __atomic_add_fetch(&s->done, 1, __ATOMIC_SEQ_CST);
}

static void ignore_done(void *data, const rt_result *result) {
    (void)data;
    (void)result;
}

static rt_waker *take_waker(struct stepper *s) {
    for (;;) {
        rt_waker *waker;
        pthread_mutex_lock(&s->lock);
        waker = s->waker;
        s->waker = NULL;
        pthread_mutex_unlock(&s->lock);
        if (waker != NULL) return waker;
        sched_yield();
    }
}

TEST(task_is_polled_until_it_is_done_and_joined) {
    rt_runtime *runtime = runtime_new(2);
    struct stepper s;
    rt_result result;
    int i;
    stepper_init(&s, 5);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    for (i = 0; i < 4; i++) rt_waker_wake(take_waker(&s));
    OK(rt_task_join(s.task, RT_FOREVER, &result));
    OK(result.status);
    CHECK_EQ(result.n, 5);
    CHECK_EQ(s.polls, 5);
    CHECK_EQ(s.drops, 1);
    OK(rt_task_join(s.task, 0, &result));
    CHECK_EQ(rt_task_cancel(s.task), RT_EALREADY);
    rt_task_free(s.task);
    rt_runtime_free(runtime);
}

TEST(no_wake_no_poll_and_many_wakes_one_poll) {
    rt_runtime *runtime = runtime_new(1);
    struct stepper s;
    rt_waker *waker, *again;
    rt_result result;
    stepper_init(&s, 3);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    waker = take_waker(&s);
    CHECK_EQ(rt_task_join(s.task, 20 * MS, &result), RT_ETIMEDOUT);
    CHECK_EQ(count_of(&s.polls), 1);
    rt_waker_wake(waker);
    waker = take_waker(&s);
    CHECK_EQ(count_of(&s.polls), 2);
    again = rt_waker_clone(waker);
    CHECK_EQ(rt_waker_will_wake(waker, again), 1);
    rt_waker_wake_by_ref(waker);
    rt_waker_wake(again);
    OK(rt_task_join(s.task, RT_FOREVER, &result));
    CHECK_EQ(result.n, 3);
    /* The task is over: waking does nothing, the waker must still be given back. */
    rt_waker_wake_by_ref(waker);
    rt_waker_free(waker);
    CHECK_EQ(s.polls, 3);
    rt_task_free(s.task);
    rt_runtime_free(runtime);
}

TEST(wake_during_a_poll_means_one_more) {
    rt_runtime *runtime = runtime_new(2);
    struct stepper s;
    rt_result result;
    stepper_init(&s, 1000);
    s.wake_self = 1;
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    OK(rt_task_join(s.task, RT_FOREVER, &result));
    CHECK_EQ(result.n, 1000);
    CHECK_EQ(s.polls, 1000);
    rt_task_free(s.task);
    rt_runtime_free(runtime);
}

TEST(result_says_how_a_task_failed) {
    rt_runtime *runtime = runtime_new(1);
    struct stepper s;
    rt_result result;
    stepper_init(&s, 1);
    s.status = RT_ECONNRESET;
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    OK(rt_task_join(s.task, RT_FOREVER, &result));
    CHECK_EQ(result.status, RT_ECONNRESET);
    rt_task_free(s.task);
    stepper_init(&s, 1);
    s.status = 7;
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    OK(rt_task_join(s.task, RT_FOREVER, &result));
    CHECK_EQ(result.status, RT_EINVAL);
    rt_task_free(s.task);
    rt_runtime_free(runtime);
}

TEST(cancelled_task_is_dropped_before_anybody_hears) {
    rt_runtime *runtime = runtime_new(2);
    struct stepper s;
    rt_result result;
    int drops = 0;
    stepper_init(&s, 1000);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    CHECK_EQ(rt_task_on_done(s.task, NULL, step_done, &s, NULL), RT_PENDING);
    CHECK_EQ(rt_task_on_done(s.task, NULL, ignore_done, &drops, count_drop), RT_PENDING);
    while (count_of(&s.polls) == 0) sched_yield();
    OK(rt_task_cancel(s.task));
    OK(rt_task_join(s.task, RT_FOREVER, &result));
    CHECK_EQ(result.status, RT_ECANCELED);
    while (count_of(&s.done) == 0 || count_of(&drops) == 0) sched_yield();
    CHECK_EQ(s.result.status, RT_ECANCELED);
    CHECK_EQ(s.drops_at_done, 1);
    CHECK_EQ(s.drops, 1);
    CHECK_EQ(rt_task_cancel(s.task), RT_EALREADY);
    rt_task_free(s.task);
    rt_runtime_free(runtime);
}

struct self {
    rt_task *task;
    int published, polls, drops, finish;
};

static int cancel_self(void *data, rt_context *cx, rt_result *result) {
    struct self *s = data;
    (void)result;
    (void)cx;
    while (!count_of(&s->published)) sched_yield();
    s->polls++;
    OK(rt_task_cancel(s->task));
    return s->finish ? RT_OK : RT_PENDING;
}

static void self_drop(void *data) { count_drop(&((struct self *)data)->drops); }

TEST(task_may_cancel_itself_inside_its_poll) {
    rt_runtime *runtime = runtime_new(2);
    int finish;
    for (finish = 0; finish < 2; finish++) {
        struct self s = {NULL, 0, 0, 0, finish};
        rt_result result;
        OK(rt_spawn(runtime, cancel_self, &s, self_drop, NULL, &s.task));
        count_drop(&s.published);
        OK(rt_task_join(s.task, RT_FOREVER, &result));
        CHECK_EQ(result.status, finish ? RT_OK : RT_ECANCELED);
        CHECK_EQ(s.polls, 1);
        CHECK_EQ(s.drops, 1);
        rt_task_free(s.task);
    }
    rt_runtime_free(runtime);
}

static int free_self(void *data, rt_context *cx, rt_result *result) {
    struct self *s = data;
    (void)cx;
    (void)result;
    while (!count_of(&s->published)) sched_yield();
    rt_task_free(s->task);
    return RT_OK;
}

TEST(task_may_free_its_handle_inside_its_poll) {
    rt_runtime *runtime = runtime_new(2);
    struct self s = {NULL, 0, 0, 0, 0};
    OK(rt_spawn(runtime, free_self, &s, self_drop, NULL, &s.task));
    count_drop(&s.published);
    while (!count_of(&s.drops)) sched_yield();
    rt_runtime_free(runtime);
    CHECK_EQ(s.drops, 1);
}

TEST(freed_task_goes_on) {
    rt_runtime *runtime = runtime_new(2);
    struct stepper s;
    stepper_init(&s, 2);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    CHECK_EQ(rt_task_on_done(s.task, NULL, step_done, &s, NULL), RT_PENDING);
    rt_task_free(s.task);
    rt_waker_wake(take_waker(&s));
    while (!count_of(&s.done)) sched_yield();
    OK(s.result.status);
    CHECK_EQ(s.polls, 2);
    rt_runtime_free(runtime);
}

struct nested {
    rt_runtime *runtime;
    rt_task *other;
    rt_loop *loop;
    int block_on, join, turn, dropped;
};

static int try_to_block(void *data, rt_context *cx, rt_result *result) {
    struct nested *n = data;
    (void)cx;
    n->block_on = rt_block_on(n->runtime, try_to_block, &n->dropped, count_drop, result);
    n->join = rt_task_join(n->other, RT_FOREVER, result);
    return RT_OK;
}

TEST(blocking_inside_a_task_is_refused) {
    rt_runtime *runtime = runtime_new(1);
    struct nested n = {runtime, NULL, NULL, 0, 0, 0, 0};
    struct stepper s;
    rt_task *task;
    stepper_init(&s, 1000);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &n.other));
    OK(rt_spawn(runtime, try_to_block, &n, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, NULL));
    rt_task_free(task);
    CHECK_EQ(n.block_on, RT_EDEADLK);
    CHECK_EQ(n.join, RT_EDEADLK);
    CHECK_EQ(n.dropped, 1);
    /* And so inside block_on on a thread of our own. */
    n.block_on = n.join = 0;
    OK(rt_block_on(runtime, try_to_block, &n, NULL, NULL));
    CHECK_EQ(n.block_on, RT_EDEADLK);
    CHECK_EQ(n.join, RT_EDEADLK);
    CHECK_EQ(n.dropped, 2);
    rt_task_free(n.other);
    rt_runtime_free(runtime);
}

TEST(block_on_runs_a_poll_on_this_thread) {
    rt_runtime *runtime = runtime_new(1);
    struct stepper s;
    rt_result result;
    stepper_init(&s, 3);
    s.wake_self = 1;
    s.status = RT_EOF;
    OK(rt_block_on(runtime, step, &s, step_drop, &result));
    CHECK_EQ(result.status, RT_EOF);
    CHECK_EQ(result.n, 3);
    CHECK_EQ(s.drops, 1);
    rt_runtime_free(runtime);
}

struct joiner {
    rt_task *other;
    rt_result seen;
    int polls;
};

static int join_other(void *data, rt_context *cx, rt_result *result) {
    struct joiner *j = data;
    int status = rt_task_poll(j->other, cx, &j->seen);
    j->polls++;
    if (status == RT_PENDING) return RT_PENDING;
    OK(status);
    result->n = j->seen.n * 2;
    return RT_OK;
}

TEST(task_waits_for_another) {
    rt_runtime *runtime = runtime_new(2);
    struct stepper s;
    struct joiner j;
    rt_task *task;
    rt_result result;
    memset(&j, 0, sizeof j);
    stepper_init(&s, 2);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &j.other));
    OK(rt_spawn(runtime, join_other, &j, NULL, NULL, &task));
    rt_waker_wake(take_waker(&s));
    OK(rt_task_join(task, RT_FOREVER, &result));
    CHECK_EQ(result.n, 4);
    CHECK(j.polls <= 2);
    rt_task_free(task);
    rt_task_free(j.other);
    rt_runtime_free(runtime);
}

struct foreign {
    int woken, dropped;
};

static void foreign_wake(void *data) { count_drop(&((struct foreign *)data)->woken); }
static void foreign_drop(void *data) { count_drop(&((struct foreign *)data)->dropped); }

/* A caller's own executor polls a task of the library. */
TEST(foreign_waker_hears_of_a_task) {
    rt_runtime *runtime = runtime_new(2);
    struct foreign f = {0, 0};
    struct stepper s;
    rt_waker *waker, *clone;
    rt_context *cx;
    rt_result result;
    stepper_init(&s, 2);
    OK(rt_waker_new(foreign_wake, &f, foreign_drop, &waker));
    OK(rt_context_new(waker, &cx));
    CHECK_EQ(rt_waker_will_wake(waker, rt_context_waker(cx)), 1);
    OK(rt_spawn(runtime, step, &s, step_drop, NULL, &s.task));
    CHECK_EQ(rt_task_poll(s.task, cx, &result), RT_PENDING);
    CHECK_EQ(rt_task_poll(s.task, cx, &result), RT_PENDING);
    rt_waker_wake(take_waker(&s));
    while (!count_of(&f.woken)) sched_yield();
    OK(rt_task_poll(s.task, cx, &result));
    CHECK_EQ(result.n, 2);
    CHECK_EQ(f.woken, 1);
    clone = rt_waker_clone(waker);
    rt_context_free(cx);
    rt_waker_free(waker);
    CHECK_EQ(f.dropped, 0);
    rt_waker_wake(clone);
    CHECK_EQ(f.woken, 2);
    while (!count_of(&f.dropped)) sched_yield();
    CHECK_EQ(f.dropped, 1);
    rt_task_free(s.task);
    rt_runtime_free(runtime);
}

static int misuse_context(void *data, rt_context *cx, rt_result *result) {
    const rt_waker *lent = rt_context_waker(cx);
    rt_waker *kept = rt_waker_clone(lent);
    (void)result;
    /* What is lent is left alone. */
    rt_waker_free((rt_waker *)lent);
    rt_context_free(cx);
    CHECK(rt_context_waker(cx) == lent);
    CHECK_EQ(rt_waker_will_wake(kept, lent), 1);
    rt_waker_free(kept);
    *(rt_context **)data = cx;
    return RT_OK;
}

TEST(context_is_lent_for_one_poll) {
    rt_runtime *runtime = runtime_new(1);
    rt_context *cx = NULL;
    CHECK(rt_context_waker(NULL) == NULL);
    CHECK(rt_waker_clone(NULL) == NULL);
    OK(rt_block_on(runtime, misuse_context, &cx, NULL, NULL));
    CHECK(cx != NULL);
    rt_waker_wake(NULL);
    rt_waker_wake_by_ref(NULL);
    rt_waker_free(NULL);
    rt_context_free(NULL);
    rt_runtime_free(runtime);
}

TEST(failed_spawn_drops_its_data_once) {
    rt_runtime *runtime = runtime_new(1), *freed = runtime_new(1);
    rt_spawn_options options = RT_SPAWN_OPTIONS_INIT;
    rt_task *task = (rt_task *)8;
    int drops = 0;
    rt_runtime_free(freed);
    CHECK_EQ(rt_spawn(NULL, step, &drops, count_drop, NULL, &task), RT_EINVAL);
    CHECK_EQ(drops, 1);
    CHECK_EQ(rt_spawn(runtime, NULL, &drops, count_drop, NULL, &task), RT_EINVAL);
    CHECK_EQ(drops, 2);
    CHECK_EQ(rt_spawn(freed, step, &drops, count_drop, NULL, &task), RT_EINVAL);
    CHECK_EQ(drops, 3);
    CHECK_EQ(rt_spawn((rt_runtime *)&options, step, &drops, count_drop, NULL, &task), RT_EINVAL);
    CHECK_EQ(drops, 4);
    options.flags = 0x80;
    CHECK_EQ(rt_spawn(runtime, step, &drops, count_drop, &options, &task), RT_EINVAL);
    CHECK_EQ(drops, 5);
    options.flags = RT_DROP_ON_LOOP;
    CHECK_EQ(rt_spawn(runtime, step, &drops, count_drop, &options, &task), RT_EINVAL);
    CHECK_EQ(drops, 6);
    CHECK_EQ(rt_spawn_blocking(runtime, NULL, &drops, count_drop, NULL, &task), RT_EINVAL);
    CHECK_EQ(drops, 7);
    CHECK_EQ(rt_block_on(runtime, NULL, &drops, count_drop, NULL), RT_EINVAL);
    CHECK_EQ(drops, 8);
    OK(rt_runtime_shutdown(runtime, RT_FOREVER, NULL));
    CHECK_EQ(rt_spawn(runtime, step, &drops, count_drop, NULL, &task), RT_ESHUTDOWN);
    CHECK_EQ(rt_spawn_blocking(runtime, NULL, &drops, count_drop, NULL, &task), RT_EINVAL);
    CHECK_EQ(rt_block_on(runtime, step, &drops, count_drop, NULL), RT_ESHUTDOWN);
    CHECK_EQ(drops, 11);
    CHECK(task == (rt_task *)8);
    rt_runtime_free(runtime);
}

struct on_loop {
    pthread_t loop_thread;
    int done, dropped, in_call;
    rt_result result;
};

static void loop_done(void *data, const rt_result *result) {
    struct on_loop *o = data;
    CHECK(pthread_equal(pthread_self(), o->loop_thread));
    CHECK_EQ(o->in_call, 0);
    o->result = *result;
    o->done++;
}

static void loop_drop(void *data) {
    struct on_loop *o = data;
    CHECK(pthread_equal(pthread_self(), o->loop_thread));
    o->dropped++;
}

static int at_once(void *data, rt_context *cx, rt_result *result) {
    (void)data;
    (void)cx;
    result->n = 42;
    return RT_OK;
}

TEST(done_is_delivered_on_a_loop_and_data_dropped_there) {
    rt_runtime *runtime = runtime_new(2);
    rt_spawn_options options = RT_SPAWN_OPTIONS_INIT;
    rt_loop *loop;
    rt_task *task;
    struct on_loop o;
    memset(&o, 0, sizeof o);
    o.loop_thread = pthread_self();
    OK(rt_loop_new(NULL, &loop));
    options.flags = RT_DROP_ON_LOOP;
    options.loop = loop;
    OK(rt_spawn(runtime, at_once, &o, loop_drop, &options, &task));
    o.in_call = 1;
    CHECK_EQ(rt_task_on_done(task, loop, loop_done, &o, loop_drop), RT_PENDING);
    o.in_call = 0;
    while (o.done < 1 || o.dropped < 2) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
    CHECK_EQ(o.result.n, 42);
    /* A task that has ended calls back as well, in a later turn. */
    o.in_call = 1;
    CHECK_EQ(rt_task_on_done(task, loop, loop_done, &o, loop_drop), RT_PENDING);
    o.in_call = 0;
    while (o.done < 2) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
    CHECK_EQ(o.dropped, 3);
    rt_loop_free(loop);
    rt_task_free(task);
    rt_runtime_free(runtime);
}

TEST(done_on_a_closed_loop_is_refused) {
    rt_runtime *runtime = runtime_new(1);
    rt_loop *loop, *clone;
    rt_task *task;
    int drops = 0;
    OK(rt_loop_new(NULL, &loop));
    OK(rt_loop_clone(loop, &clone));
    OK(rt_spawn(runtime, at_once, NULL, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, NULL));
    rt_loop_free(loop);
    rt_loop_free(clone);
    CHECK_EQ(rt_task_on_done(task, clone, step_done, &drops, count_drop), RT_EINVAL);
    OK(rt_runtime_shutdown(runtime, RT_FOREVER, NULL));
    CHECK_EQ(rt_task_on_done(task, NULL, step_done, &drops, count_drop), RT_ESHUTDOWN);
    CHECK_EQ(drops, 2);
    rt_task_free(task);
    rt_runtime_free(runtime);
}

/* Polls never overlap, and each sees what the one before wrote, on whichever worker: the counter
 * is not atomic. Two threads wake as fast as they can. */
struct hammer {
    rt_waker *waker;
    int published, stop, inside;
    long plain;
};

static int hammered(void *data, rt_context *cx, rt_result *result) {
    struct hammer *h = data;
    CHECK_EQ(__atomic_exchange_n(&h->inside, 1, __ATOMIC_RELAXED), 0);
    h->plain++;
    result->n = h->plain;
    if (!h->published) {
        h->waker = rt_waker_clone(rt_context_waker(cx));
        __atomic_store_n(&h->published, 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&h->inside, 0, __ATOMIC_RELAXED);
    return h->plain >= 20000 ? RT_OK : RT_PENDING;
}

static void *hammering(void *data) {
    struct hammer *h = data;
    while (!__atomic_load_n(&h->published, __ATOMIC_ACQUIRE)) sched_yield();
    while (!count_of(&h->stop)) rt_waker_wake_by_ref(h->waker);
    return NULL;
}

TEST(polls_of_a_task_never_overlap) {
    rt_runtime *runtime = runtime_new(3);
    struct hammer h = {NULL, 0, 0, 0, 0};
    pthread_t threads[2];
    rt_task *task;
    rt_result result;
    CHECK(pthread_create(&threads[0], NULL, hammering, &h) == 0);
    CHECK(pthread_create(&threads[1], NULL, hammering, &h) == 0);
    OK(rt_spawn(runtime, hammered, &h, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, &result));
    CHECK_EQ(result.n, 20000);
    count_drop(&h.stop);
    CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    rt_waker_free(h.waker);
    rt_task_free(task);
    rt_runtime_free(runtime);
}

TEST(ten_thousand_tasks_end) {
    rt_runtime *runtime = runtime_new(4);
    int i, drops = 0;
    for (i = 0; i < 10000; i++) OK(rt_spawn(runtime, at_once, &drops, count_drop, NULL, NULL));
    while (count_of(&drops) < 10000) sched_yield();
    rt_runtime_free(runtime);
    CHECK_EQ(drops, 10000);
}

/* ---- blocking jobs ---- */

struct job {
    int started, release, ran, drops;
};

static int blocked(void *data, rt_result *result) {
    struct job *j = data;
    count_drop(&j->started);
    while (!count_of(&j->release)) poll(NULL, 0, 1);
    j->ran = 1;
    result->n = 9;
    return RT_OK;
}

static void job_drop(void *data) { count_drop(&((struct job *)data)->drops); }

TEST(blocking_job_returns_its_result) {
    rt_runtime *runtime = runtime_new(1);
    struct job j = {0, 1, 0, 0};
    rt_task *task;
    rt_result result;
    OK(rt_spawn_blocking(runtime, blocked, &j, job_drop, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, &result));
    OK(result.status);
    CHECK_EQ(result.n, 9);
    CHECK_EQ(j.drops, 1);
    rt_task_free(task);
    rt_runtime_free(runtime);
}

TEST(blocking_job_is_cancelled_only_before_it_begins) {
    rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT;
    rt_runtime *runtime;
    struct job first = {0, 0, 0, 0}, second = {0, 0, 0, 0};
    struct stepper heard;
    rt_task *running, *queued;
    rt_result result;
    stepper_init(&heard, 0);
    options.worker_threads = 1;
    options.max_blocking_threads = 1;
    OK(rt_runtime_new(&options, &runtime));
    OK(rt_spawn_blocking(runtime, blocked, &first, job_drop, NULL, &running));
    while (!count_of(&first.started)) sched_yield();
    OK(rt_spawn_blocking(runtime, blocked, &second, job_drop, NULL, &queued));
    CHECK_EQ(rt_task_on_done(queued, NULL, step_done, &heard, NULL), RT_PENDING);
    CHECK_EQ(rt_task_cancel(running), RT_EBUSY);
    OK(rt_task_cancel(queued));
    /* The pool is still busy with the first. */
    OK(rt_task_join(queued, RT_FOREVER, &result));
    CHECK_EQ(result.status, RT_ECANCELED);
    CHECK_EQ(second.drops, 1);
    CHECK_EQ(second.started, 0);
    while (!count_of(&heard.done)) sched_yield();
    count_drop(&first.release);
    OK(rt_task_join(running, RT_FOREVER, &result));
    OK(result.status);
    CHECK_EQ(first.ran, 1);
    rt_task_free(running);
    rt_task_free(queued);
    rt_runtime_free(runtime);
    CHECK_EQ(second.started, 0);
    CHECK_EQ(second.drops, 1);
}

static int block_in_job(void *data, rt_result *result) {
    struct nested *n = data;
    n->join = rt_task_join(n->other, RT_FOREVER, result);
    n->block_on = rt_block_on(n->runtime, at_once, NULL, NULL, result);
    return RT_OK;
}

TEST(blocking_job_may_block) {
    rt_runtime *runtime = runtime_new(1);
    struct nested n = {runtime, NULL, NULL, 1, 1, 0, 0};
    rt_task *task;
    OK(rt_spawn(runtime, at_once, NULL, NULL, NULL, &n.other));
    OK(rt_spawn_blocking(runtime, block_in_job, &n, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, NULL));
    OK(n.join);
    OK(n.block_on);
    rt_task_free(task);
    rt_task_free(n.other);
    rt_runtime_free(runtime);
}

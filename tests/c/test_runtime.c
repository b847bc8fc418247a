/* Runtimes: options, threads, shutdown, fork, and manners in the host's process. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

static int forever(void *data, rt_context *cx, rt_result *result) {
    (void)data;
    (void)cx;
    (void)result;
    return RT_PENDING;
}

static int at_once(void *data, rt_context *cx, rt_result *result) {
    (void)data;
    (void)cx;
    (void)result;
    return RT_OK;
}

TEST(runtime_starts_with_defaults_and_ends) {
    rt_runtime *runtime, *clone;
    OK(rt_runtime_new(NULL, &runtime));
    OK(rt_runtime_clone(runtime, &clone));
    rt_runtime_free(runtime);
    CHECK_EQ(rt_spawn(clone, at_once, NULL, NULL, NULL, NULL), RT_OK);
    rt_runtime_free(clone);
}

/* A struct as a newer header would have it. */
struct newer {
    rt_runtime_options known;
    uint64_t unknown[2];
};

TEST(options_of_other_sizes) {
    rt_runtime *runtime = NULL;
    rt_loop *loop = NULL;
    struct newer newer;
    rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT;
    rt_loop_options loop_options = RT_LOOP_OPTIONS_INIT;
    memset(&newer, 0, sizeof newer);
    newer.known.size = sizeof newer;
    newer.known.worker_threads = 1;
    OK(rt_runtime_new(&newer.known, &runtime));
    rt_runtime_free(runtime);
    runtime = NULL;
    newer.unknown[1] = 1;
    CHECK_EQ(rt_runtime_new(&newer.known, &runtime), RT_E2BIG);
    CHECK(runtime == NULL);
    /* A struct of an older header is shorter. */
    options.size = offsetof(rt_runtime_options, max_blocking_threads);
    options.worker_threads = 1;
    options.thread_name = (const char *)1;
    OK(rt_runtime_new(&options, &runtime));
    rt_runtime_free(runtime);
    options.size = 3;
    CHECK_EQ(rt_runtime_new(&options, &runtime), RT_EINVAL);
    CHECK_EQ(rt_runtime_new(NULL, NULL), RT_EINVAL);
    loop_options.size = 0;
    CHECK_EQ(rt_loop_new(&loop_options, &loop), RT_EINVAL);
    CHECK_EQ(rt_loop_new(NULL, NULL), RT_EINVAL);
}

struct threads {
    int started, stopped, dropped;
};

static void on_start(void *data) { count_drop(&((struct threads *)data)->started); }
static void on_stop(void *data) { count_drop(&((struct threads *)data)->stopped); }
static void on_threads_drop(void *data) {
    struct threads *t = data;
    CHECK_EQ(count_of(&t->started), count_of(&t->stopped));
    count_drop(&t->dropped);
}

static int name_of_thread(void *data, rt_result *result) {
    (void)result;
    return pthread_getname_np(pthread_self(), data, 16);
}

TEST(thread_hooks_run_on_each_thread_and_names_are_set) {
    rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT;
    rt_runtime *runtime;
    rt_task *task;
    struct threads t = {0, 0, 0};
    char name[16] = "";
    options.worker_threads = 3;
    options.thread_name = "pool";
    options.on_thread_start = on_start;
    options.on_thread_stop = on_stop;
    options.thread_data = &t;
    options.thread_data_drop = on_threads_drop;
    OK(rt_runtime_new(&options, &runtime));
    OK(rt_spawn_blocking(runtime, name_of_thread, name, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, NULL));
    rt_task_free(task);
    CHECK(strncmp(name, "pool", 4) == 0);
    rt_runtime_free(runtime);
    CHECK_EQ(t.started, 4);
    CHECK_EQ(t.stopped, 4);
    CHECK_EQ(t.dropped, 1);
    options.thread_name = "\xff";
    CHECK_EQ(rt_runtime_new(&options, &runtime), RT_EINVAL);
    CHECK_EQ(t.dropped, 2);
}

struct ended {
    int drops, done, drops_at_done, status;
};

static void ended_drop(void *data) { count_drop(&((struct ended *)data)->drops); }

static void ended_done(void *data, const rt_result *result) {
    struct ended *e = data;
    e->drops_at_done = count_of(&e->drops);
    e->status = result->status;
    count_drop(&e->done);
}

TEST(shutdown_drops_pending_tasks_and_tells) {
    rt_runtime *runtime;
    rt_shutdown_report report = RT_SHUTDOWN_REPORT_INIT;
    struct ended e[20];
    rt_task *tasks[20];
    rt_result result;
    int i;
    memset(e, 0, sizeof e);
    OK(rt_runtime_new(NULL, &runtime));
    for (i = 0; i < 20; i++) {
        OK(rt_spawn(runtime, forever, &e[i], ended_drop, NULL, &tasks[i]));
        CHECK_EQ(rt_task_on_done(tasks[i], NULL, ended_done, &e[i], NULL), RT_PENDING);
    }
    OK(rt_runtime_shutdown(runtime, RT_FOREVER, &report));
    CHECK_EQ(report.tasks_dropped, 20);
    CHECK_EQ(report.blocking_left, 0);
    for (i = 0; i < 20; i++) {
        CHECK_EQ(e[i].drops, 1);
        CHECK_EQ(e[i].done, 1);
        CHECK_EQ(e[i].drops_at_done, 1);
        CHECK_EQ(e[i].status, RT_ECANCELED);
        OK(rt_task_join(tasks[i], RT_FOREVER, &result));
        CHECK_EQ(result.status, RT_ECANCELED);
        rt_task_free(tasks[i]);
    }
    OK(rt_runtime_shutdown(runtime, 0, NULL));
    rt_runtime_free(runtime);
}

struct held_job {
    int began;
    int released;
};

static int until_released(void *data, rt_result *result) {
    struct held_job *held = data;
    (void)result;
    count_drop(&held->began);
    while (!count_of(&held->released)) poll(NULL, 0, 1);
    return RT_OK;
}

TEST(shutdown_has_a_time_limit_and_reports_what_is_left) {
    rt_runtime *runtime;
    rt_shutdown_report report = RT_SHUTDOWN_REPORT_INIT;
    struct held_job held = {0, 0};
    rt_task *task;
    rt_result result;
    OK(rt_runtime_new(NULL, &runtime));
    OK(rt_spawn_blocking(runtime, until_released, &held, NULL, NULL, &task));
    while (!count_of(&held.began)) poll(NULL, 0, 1);
    CHECK_EQ(rt_runtime_shutdown(runtime, 10 * MS, &report), RT_ETIMEDOUT);
    CHECK_EQ(report.blocking_left, 1);
    count_drop(&held.released);
    OK(rt_runtime_shutdown(runtime, RT_FOREVER, &report));
    CHECK_EQ(report.blocking_left, 0);
    OK(rt_task_join(task, RT_FOREVER, &result));
    OK(result.status);
    rt_task_free(task);
    rt_runtime_free(runtime);
}

struct spinner {
    int polls;
};

static int spin(void *data, rt_context *cx, rt_result *result) {
    (void)result;
    count_drop(&((struct spinner *)data)->polls);
    rt_waker_wake_by_ref(rt_context_waker(cx));
    return RT_PENDING;
}

TEST(nothing_runs_after_the_last_free) {
    rt_runtime *runtime;
    struct spinner s[4];
    int i, before;
    memset(s, 0, sizeof s);
    OK(rt_runtime_new(NULL, &runtime));
    for (i = 0; i < 4; i++) OK(rt_spawn(runtime, spin, &s[i], NULL, NULL, NULL));
    while (!count_of(&s[3].polls)) sched_yield();
    rt_runtime_free(runtime);
    before = count_of(&s[0].polls) + count_of(&s[1].polls) + count_of(&s[2].polls);
    for (i = 0; i < 100; i++) sched_yield();
    CHECK_EQ(count_of(&s[0].polls) + count_of(&s[1].polls) + count_of(&s[2].polls), before);
}

TEST(runtimes_share_nothing) {
    rt_runtime *a, *b;
    int drops = 0;
    rt_task *task;
    OK(rt_runtime_new(NULL, &a));
    OK(rt_runtime_new(NULL, &b));
    OK(rt_spawn(b, forever, &drops, count_drop, NULL, &task));
    rt_runtime_free(a);
    CHECK_EQ(rt_task_join(task, 1 * MS, NULL), RT_ETIMEDOUT);
    CHECK_EQ(drops, 0);
    rt_runtime_free(b);
    CHECK_EQ(drops, 1);
    rt_task_free(task);
}

static int free_runtime(void *data, rt_context *cx, rt_result *result) {
    (void)cx;
    (void)result;
    rt_runtime_free(data);
    return RT_OK;
}

TEST(worker_may_free_its_runtime) {
    rt_runtime *runtime;
    rt_task *task;
    OK(rt_runtime_new(NULL, &runtime));
    OK(rt_spawn(runtime, free_runtime, runtime, NULL, NULL, &task));
    OK(rt_task_join(task, RT_FOREVER, NULL));
    rt_task_free(task);
}

static pthread_t signal_thread;
static volatile sig_atomic_t signals, elsewhere;

static void on_signal(int number) {
    (void)number;
    signals++;
    if (!pthread_equal(pthread_self(), signal_thread)) elsewhere++;
}

TEST(signals_stay_with_the_hosts_threads) {
    rt_runtime *runtime;
    struct sigaction before[32], after, action;
    sigset_t mask_before, mask_after;
    struct spinner s = {0};
    int i;
    signal_thread = pthread_self();
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (i = 1; i < 32; i++) (void)sigaction(i, NULL, &before[i]);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_before) == 0);
    OK(rt_runtime_new(NULL, &runtime));
    OK(rt_spawn(runtime, spin, &s, NULL, NULL, NULL));
    while (!count_of(&s.polls)) sched_yield();
    for (i = 0; i < 200; i++) {
        CHECK(kill(getpid(), SIGUSR1) == 0);
        sched_yield();
    }
    CHECK(signals > 0);
    CHECK_EQ(elsewhere, 0);
    for (i = 1; i < 32; i++) {
        memset(&after, 0, sizeof after);
        if (i == SIGKILL || i == SIGSTOP) continue;
        CHECK(sigaction(i, NULL, &after) == 0);
        CHECK(after.sa_handler == before[i].sa_handler);
    }
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_after) == 0);
    for (i = 1; i < 32; i++)
        CHECK_EQ(sigismember(&mask_after, i), sigismember(&mask_before, i));
    rt_runtime_free(runtime);
}

static void ignore(void *data) { (void)data; }
static void ignore_ready(void *data, uint32_t ready) {
    (void)data;
    (void)ready;
}

/* What the child inherits and cannot use it leaves alone, memory included. Leak checkers look when a
 * process exits; so a child that has found all well ends otherwise. */
static void end_child(void) { kill(getpid(), SIGKILL); }

static void await_child(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
}

/* Waits until every other thread of the process sleeps. A thread that allocates while another one forks may leave
 * the lock of AddressSanitizer's allocator taken in the child, for ever; the C library frees its own. */
static void await_others_asleep(void) {
    char path[64], line[512];
    for (;;) {
        struct dirent *entry;
        int awake = 0;
        DIR *threads = opendir("/proc/self/task");
        CHECK(threads != NULL);
        while ((entry = readdir(threads)) != NULL) {
            const char *state;
            FILE *file;
            if (atoi(entry->d_name) == 0 || atoi(entry->d_name) == getpid()) continue;
            snprintf(path, sizeof path, "/proc/self/task/%d/stat", atoi(entry->d_name));
            file = fopen(path, "r");
            if (file == NULL) continue; /* it has ended */
            state = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
            awake += state == NULL || state[2] != 'S';
            fclose(file);
        }
        closedir(threads);
        if (awake == 0) return;
        sched_yield();
    }
}

/* In a child of fork, what was made before refuses, and new objects work. */
TEST(fork_is_noticed) {
    rt_runtime *runtime, *fresh;
    rt_loop *loop, *own;
    rt_timer *timer;
    rt_watch *watch;
    rt_task *task, *other;
    int pair[2], fd, drops = 0, fired = 0;
    pid_t child;
    CHECK(pipe(pair) == 0);
    OK(rt_runtime_new(NULL, &runtime));
    OK(rt_loop_new(NULL, &loop));
    OK(rt_loop_backend_fd(loop, &fd));
    OK(rt_timer_new(loop, ignore, NULL, NULL, &timer));
    OK(rt_watch_new(loop, pair[0], RT_READABLE, ignore_ready, NULL, NULL, &watch));
    OK(rt_spawn(runtime, forever, NULL, NULL, NULL, &task));
    await_others_asleep();
    child = fork();
    if (child == 0) {
        CHECK_EQ(rt_loop_turn(loop, 0), RT_EFORK);
        CHECK_EQ(rt_loop_run(loop), RT_EFORK);
        CHECK_EQ(rt_loop_wake(loop), RT_EFORK);
        CHECK_EQ(rt_loop_post(loop, ignore, &drops, count_drop), RT_EFORK);
        CHECK_EQ(rt_timer_start(timer, 0, 0), RT_EFORK);
        CHECK_EQ(rt_watch_set(watch, 0), RT_EFORK);
        CHECK_EQ(rt_spawn(runtime, forever, &drops, count_drop, NULL, &other), RT_EFORK);
        CHECK_EQ(rt_spawn_blocking(runtime, until_released, &drops, count_drop, NULL, &other),
                RT_EFORK);
        CHECK_EQ(rt_runtime_shutdown(runtime, 0, NULL), RT_EFORK);
        CHECK_EQ(rt_task_join(task, 0, NULL), RT_EFORK);
        CHECK_EQ(rt_task_cancel(task), RT_EFORK);
        CHECK_EQ(drops, 3);
        /* What was made before can be freed, and that leaves the parent's alone. */
        rt_task_free(task);
        rt_watch_free(watch);
        rt_timer_free(timer);
        rt_loop_free(loop);
        rt_runtime_free(runtime);
        OK(rt_runtime_new(NULL, &fresh));
        OK(rt_spawn(fresh, at_once, NULL, NULL, NULL, &task));
        OK(rt_task_join(task, RT_FOREVER, NULL));
        rt_task_free(task);
        rt_runtime_free(fresh);
        OK(rt_loop_new(NULL, &own));
        OK(rt_timer_new(own, (rt_timer_fn)count_drop, &fired, NULL, &timer));
        OK(rt_timer_start(timer, 0, 0));
        OK(rt_loop_run(own));
        CHECK_EQ(fired, 1);
        rt_timer_free(timer);
        rt_loop_free(own);
        CHECK_EQ(rt_handles_live(), 0);
        end_child();
    }
    CHECK(child > 0);
    await_child(child);
    /* The parent's loop still hears of its descriptor. */
    CHECK(write(pair[1], "x", 1) == 1);
    CHECK_EQ(rt_loop_run_once(loop), RT_PENDING);
    rt_task_free(task);
    rt_watch_free(watch);
    rt_timer_free(timer);
    rt_loop_free(loop);
    rt_runtime_free(runtime);
    close(pair[0]);
    close(pair[1]);
}

struct inherited {
    int fired, ready, posts;
    int pair[2];
};

static void inherited_fire(void *data) { ((struct inherited *)data)->fired++; }
static void inherited_post(void *data) { ((struct inherited *)data)->posts++; }
static void inherited_ready(void *data, uint32_t ready) {
    struct inherited *i = data;
    char byte;
    CHECK(ready & RT_READABLE);
    CHECK_EQ(read(i->pair[0], &byte, 1), 1);
    i->ready++;
}

/* The child goes on with the loop, and the parent's is not disturbed. */
TEST(loop_is_taken_over_by_a_forked_child) {
    rt_loop *loop;
    rt_timer *timer;
    rt_watch *watch;
    struct inherited i = {0, 0, 0, {0, 0}};
    struct pollfd p;
    int fd, in_child;
    pid_t child;
    CHECK(pipe(i.pair) == 0);
    OK(rt_loop_new(NULL, &loop));
    CHECK_EQ(rt_loop_after_fork(loop), RT_EINVAL);
    OK(rt_loop_backend_fd(loop, &fd));
    OK(rt_timer_new(loop, inherited_fire, &i, NULL, &timer));
    OK(rt_timer_start(timer, 3600 * 1000 * MS, 0));
    OK(rt_watch_new(loop, i.pair[0], RT_READABLE, inherited_ready, &i, NULL, &watch));
    OK(rt_loop_turn(loop, 0));
    p.fd = fd;
    p.events = POLLIN;
    child = fork();
    if (child == 0) {
        OK(rt_loop_after_fork(loop));
        OK(rt_loop_backend_fd(loop, &in_child));
        CHECK_EQ(in_child, fd);
        CHECK(rt_loop_turn(loop, 0) >= 0);
        OK(rt_loop_turn(loop, 0));
        CHECK_EQ(poll(&p, 1, 0), 0);
        OK(rt_timer_start(timer, 2 * MS, 0));
        CHECK_EQ(poll(&p, 1, 10000), 1);
        while (i.fired == 0) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
        CHECK_EQ(rt_loop_post(loop, inherited_post, &i, NULL), RT_PENDING);
        CHECK_EQ(poll(&p, 1, 10000), 1);
        CHECK(rt_loop_turn(loop, 0) >= 0);
        CHECK_EQ(i.posts, 1);
        CHECK(write(i.pair[1], "x", 1) == 1);
        while (i.ready == 0) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
        rt_watch_free(watch);
        rt_timer_free(timer);
        rt_loop_free(loop);
        CHECK_EQ(rt_handles_live(), 0);
        end_child();
    }
    await_child(child);
    /* Neither the child's alarm nor its wakes have reached the parent. */
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_EQ(i.fired + i.ready + i.posts, 0);
    CHECK(write(i.pair[1], "x", 1) == 1);
    CHECK_EQ(poll(&p, 1, 10000), 1);
    while (i.ready == 0) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
    OK(rt_timer_start(timer, 1 * MS, 0));
    while (i.fired == 0) CHECK(rt_loop_turn(loop, RT_FOREVER) >= 0);
    rt_watch_free(watch);
    rt_timer_free(timer);
    rt_loop_free(loop);
    close(i.pair[0]);
    close(i.pair[1]);
}

TEST(versions_agree) {
    char text[32];
    CHECK_EQ(rt_version(), RT_VERSION_MAJOR << 16 | RT_VERSION_MINOR << 8 | RT_VERSION_PATCH);
    snprintf(text, sizeof text, "%d.%d.%d", RT_VERSION_MAJOR, RT_VERSION_MINOR, RT_VERSION_PATCH);
    CHECK(strcmp(text, rt_version_string()) == 0);
    CHECK_EQ(rt_abi_version(), RT_ABI_VERSION);
}

TEST(every_code_has_a_name_and_a_text) {
    int code;
    CHECK(strcmp(rt_err_name(RT_EINVAL), "RT_EINVAL") == 0);
    CHECK(strcmp(rt_err_name(-EXDEV), "EXDEV") == 0);
    CHECK(strcmp(rt_err_name(12345), "RT_EUNKNOWN") == 0);
    for (code = -5000; code < 5000; code++)
        CHECK(rt_err_name(code)[0] != 0 && rt_strerror(code)[0] != 0);
    CHECK(strcmp(rt_err_name(-2147483647 - 1), "RT_EUNKNOWN") == 0);
}

static int logged, log_dropped;

static void on_log(void *data, int32_t level, const char *message, size_t len) {
    (void)data;
    (void)level;
    CHECK_EQ(message[len], 0);
    logged++;
}

TEST(log_callback_is_replaced_and_its_data_dropped) {
    OK(rt_set_log_callback(on_log, &log_dropped, count_drop));
    OK(rt_set_log_callback(on_log, &log_dropped, count_drop));
    CHECK_EQ(log_dropped, 1);
    OK(rt_set_log_callback(NULL, NULL, NULL));
    CHECK_EQ(log_dropped, 2);
    CHECK_EQ(logged, 0);
}

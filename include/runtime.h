/* libruntime: tasks on every core, timers, sockets, and an event loop that any host can embed.
 *
 * Generated from the source; docs/c-api.md tells the same at length, with the reasons.
 *
 * Objects are opaque. `rt_x_new` gives a handle, `rt_x_clone` another, `rt_x_free` gives one back
 * (NULL is allowed). Freeing never cancels work and never waits, but a timer, a watch and a listener
 * are their handles: freeing stops them.
 *
 * Status: functions that can fail return RT_OK (0), RT_PENDING (1) or a negative RT_E* code, which for
 * errors of the system is -errno. Results go to out-parameters, written on success only.
 * NULL, a freed handle or one of another type gives RT_EINVAL where that can be seen.
 *
 * Callbacks come as three arguments (fn, data, drop). `drop(data)` runs exactly once: after the last
 * call of fn, or when the call that was given them fails. RT_PENDING promises that fn will be called
 * once; RT_OK means that the result is there now and fn will not be called; after an error it is not
 * called either. fn never runs inside the call that submits it, and no lock is held while it runs.
 * It must return: no longjmp, no C++ exception.
 *
 * Threads: "@threads any" may be called anywhere; "loop" on the thread that owns the loop (others get
 * RT_EPERM). A runtime (rt_runtime) runs callbacks on its workers, several at once; a loop (rt_loop)
 * runs all of its callbacks inside rt_loop_run or rt_loop_turn, on one thread. "@blocking" may wait:
 * not inside callbacks (RT_EDEADLK). "@signal_safe" may be called in a signal handler. "@consumes x":
 * x is the library's, on every path.
 *
 * After fork(), what was made before it gives RT_EFORK in the child, which may make new objects.
 * The library prints nothing, raises no SIGPIPE, replaces no signal handler, and its descriptors are
 * closed on exec.
 *
 * A program:
 *
 *    #include <libruntime/runtime.h>
 *    #include <stdio.h>
 *
 *    struct counter { rt_timer *timer; int left; };
 *
 *    static void tick(void *data) {
 *        struct counter *counter = data;
 *        printf("%d\n", counter->left);
 *        if (--counter->left == 0) rt_timer_stop(counter->timer);
 *    }
 *
 *    int main(void) {
 *        struct counter counter = {NULL, 3};
 *        rt_loop *loop;
 *        int status = rt_loop_new(NULL, &loop);
 *        if (status < 0) return fprintf(stderr, "%s\n", rt_strerror(status)), 1;
 *        status = rt_timer_new(loop, tick, &counter, NULL, &counter.timer);
 *        if (status == RT_OK) {
 *            rt_timer_start(counter.timer, 100000000, 100000000);
 *            status = rt_loop_run(loop); // until the timer is stopped
 *            rt_timer_free(counter.timer);
 *        }
 *        rt_loop_free(loop);
 *        return status != RT_OK;
 *    }
 */
#ifndef LIBRUNTIME_RUNTIME_H
#define LIBRUNTIME_RUNTIME_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifndef RT_API
#define RT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* == Version ============================================================================= */

/* Major version of this header. */
#define RT_VERSION_MAJOR 0

/* Minor version of this header. */
#define RT_VERSION_MINOR 1

/* Patch version of this header. */
#define RT_VERSION_PATCH 0

/* Version of the binary interface: the number in the name `libruntime.so.0`. */
#define RT_ABI_VERSION 0

/* The version of the library that the program runs with, as one number that can be compared:
 * `major << 16 | minor << 8 | patch`. The header's own version is `RT_VERSION_MAJOR` and so on.
 *
 * @threads any @signal_safe
 */
RT_API uint32_t rt_version(void);

/* The same version as a static string, "0.1.0".
 *
 * @threads any @signal_safe
 */
RT_API const char *rt_version_string(void);

/* The version of the binary interface. A program built against another value of
 * `RT_ABI_VERSION` must not use this library.
 *
 * @threads any @signal_safe
 */
RT_API uint32_t rt_abi_version(void);

/* == Status ============================================================================== */

/* Done. Results are in the out-parameters. */
#define RT_OK 0

/* Not yet: the callback will come, the waker will be woken, or there is more to do. */
#define RT_PENDING 1

/* Not permitted from this thread: the object belongs to a loop that another thread owns. */
#define RT_EPERM (-EPERM)

/* An options struct of a newer version has a field set that this library does not know. */
#define RT_E2BIG (-E2BIG)

/* The descriptor is not open. */
#define RT_EBADF (-EBADF)

/* Nothing can be done at once, try again later. */
#define RT_EAGAIN (-EAGAIN)

/* Out of memory. */
#define RT_ENOMEM (-ENOMEM)

/* Busy: the loop is being turned already, or such an operation is pending on the object. */
#define RT_EBUSY (-EBUSY)

/* There is one already. */
#define RT_EEXIST (-EEXIST)

/* NULL, freed or of another type where a live handle is needed; an argument out of range. */
#define RT_EINVAL (-EINVAL)

/* The process has no descriptor left. */
#define RT_EMFILE (-EMFILE)

/* The peer does not read any more, or the sending side was shut down. */
#define RT_EPIPE (-EPIPE)

/* Blocking here would wait for itself: a worker or a turning loop must not block. */
#define RT_EDEADLK (-EDEADLK)

/* The address is in use. */
#define RT_EADDRINUSE (-EADDRINUSE)

/* The peer reset the connection. */
#define RT_ECONNRESET (-ECONNRESET)

/* Not connected. */
#define RT_ENOTCONN (-ENOTCONN)

/* The runtime or the loop was shut down. */
#define RT_ESHUTDOWN (-ESHUTDOWN)

/* The time limit passed. */
#define RT_ETIMEDOUT (-ETIMEDOUT)

/* Nobody listens at the address. */
#define RT_ECONNREFUSED (-ECONNREFUSED)

/* Finished, or under way, already. */
#define RT_EALREADY (-EALREADY)

/* Cancelled. */
#define RT_ECANCELED (-ECANCELED)

/* A panic inside the library or a callback was contained; the log has its message. */
#define RT_EPANIC (-4001)

/* The object was made before a `fork`, and this is the child. */
#define RT_EFORK (-4002)

/* The end of the stream: the peer has sent all it will send. */
#define RT_EOF (-4003)

/* The call needs a runtime, and the loop has none attached. */
#define RT_ENORUNTIME (-4004)

/* The name does not resolve to an address. */
#define RT_EAI_NONAME (-4101)

/* The name server failed for now, try again later. */
#define RT_EAI_AGAIN (-4102)

/* The name server failed for good. */
#define RT_EAI_FAIL (-4103)

/* The name could not be looked up for another reason. */
#define RT_EAI_OTHER (-4104)

/* The name of a status code: "RT_EINVAL" for a code that this header defines, the system's own
 * name ("EXDEV") for any other error number, "RT_EUNKNOWN" for a value that is no code.
 * The string is static: nothing is allocated, and it is never freed.
 *
 * @threads any @signal_safe
 */
RT_API const char *rt_err_name(int code);

/* What a status code says, in words. The string is static: nothing is allocated, and it is never
 * freed.
 *
 * @threads any @signal_safe
 */
RT_API const char *rt_strerror(int code);

/* == User data =========================================================================== */

/* Gives user data back: called exactly once for each time that the data was passed in, after the
 * last use of it, never while its function runs, also when the call that took the data failed.
 * May be NULL. Unless a function says otherwise it may run on any thread.
 */
typedef void (*rt_drop_fn)(void *data);

/* == Log ================================================================================= */

/* Something went wrong that a return value could not fully say. */
#define RT_LOG_ERROR 1

/* Something is probably a mistake. */
#define RT_LOG_WARN 2

/* Receives one line of the log: `len` bytes of UTF-8 at `message`, a NUL after them. It may be
 * called on any thread, on several at once, also inside a call of this library: it must not block
 * and must not call this library.
 */
typedef void (*rt_log_fn)(void *data, int32_t level, const char *message, size_t len);

/* Sets the function that receives the log of the whole process, in place of the one before; NULL
 * for none. The log says what a status code cannot: the message of a contained panic. The library
 * prints nothing by itself, and writes a line only when something has gone wrong.
 * `drop(data)` is called once, after the last call of `callback`, when another function is set.
 * Errors: none but `RT_EPANIC`.
 *
 * @threads any @consumes data
 */
RT_API int rt_set_log_callback(rt_log_fn callback, void *data, rt_drop_fn drop);

/* == Handles ============================================================================= */

/* How many handles of all types have been given to C in this process and not been freed. For
 * leak checks at the end of a program: it looks at every handle, so it is not for hot paths.
 *
 * @threads any
 */
RT_API size_t rt_handles_live(void);

/* == Runtimes ============================================================================ */

/* A pool of workers that run tasks, each with its own timers and sockets, and that steal from each
 * other; and a pool of threads for jobs that block. Several runtimes in one process share nothing.
 * Its threads leave the process's signals to the other threads.
 *
 * Flow: `rt_runtime_new`, `rt_spawn` and so on, `rt_runtime_shutdown` if the end is to have a time
 * limit, `rt_runtime_free`.
 */
typedef struct rt_runtime rt_runtime;

/* Is called on a thread of a runtime, when it starts or before it ends. */
typedef void (*rt_thread_fn)(void *data);

/* Options of a runtime. Set up by `RT_RUNTIME_OPTIONS_INIT`; zero always means the default. */
typedef struct rt_runtime_options {
  /* `sizeof(rt_runtime_options)`. */
  size_t size;
  /* Workers; 0 for one for each core that this process may use. */
  uint32_t worker_threads;
  /* Threads for blocking jobs at most; 0 for 512. */
  uint32_t max_blocking_threads;
  /* How long a thread stays that has no blocking job, in nanoseconds; 0 for ten seconds. */
  uint64_t thread_keep_alive_ns;
  /* The size of each thread's stack in bytes; 0 for the default of two megabytes. */
  size_t thread_stack_size;
  /* The name of the threads, of which Linux shows 15 bytes; NULL for "libruntime". */
  const char *thread_name;
  /* Called first on each thread, with `thread_data`. */
  rt_thread_fn on_thread_start;
  /* Called last on each thread, with `thread_data`. */
  rt_thread_fn on_thread_stop;
  /* For the two functions above. */
  void *thread_data;
  /* Called with `thread_data` when the last thread has ended, or `rt_runtime_new` has failed. */
  rt_drop_fn thread_data_drop;
} rt_runtime_options;

/* What a shutdown did. Set up by `RT_SHUTDOWN_REPORT_INIT`. */
typedef struct rt_shutdown_report {
  /* `sizeof(rt_shutdown_report)`. */
  size_t size;
  /* Tasks that were dropped before they had finished. */
  uint64_t tasks_dropped;
  /* Workers that were still inside a poll when the time was over. */
  uint64_t workers_left;
  /* Threads that were still inside a blocking job when the time was over; if there was none, threads
   * of the pool for blocking jobs that had not ended, as one inside its `on_thread_stop`.
   */
  uint64_t blocking_left;
} rt_shutdown_report;

/* Starts a runtime. `options` may be NULL.
 * Errors: `RT_EINVAL`, `RT_E2BIG`, `RT_EMFILE`, `RT_EAGAIN` if no thread can be started, and what
 * else the system says. `options->thread_data` is consumed unless the options themselves are
 * refused.
 *
 * @threads any
 */
RT_API int rt_runtime_new(const rt_runtime_options *options, rt_runtime **runtime);

/* Another handle for the same runtime.
 * Errors: `RT_EINVAL`.
 *
 * @threads any
 */
RT_API int rt_runtime_clone(rt_runtime *runtime, rt_runtime **clone);

/* Gives the handle back. With the last one, and when no loop has the runtime attached any more, it
 * is shut down without a time limit: nothing of it runs after this call has returned, unless it
 * was called on one of the runtime's own threads.
 *
 * @threads any @blocking @consumes runtime
 */
RT_API void rt_runtime_free(rt_runtime *runtime);

/* Shuts the runtime down: nothing new is accepted (`RT_ESHUTDOWN`), a poll that is under way ends,
 * pending tasks get `drop` without another poll and then `RT_ECANCELED`, blocking jobs that have
 * begun are waited for and others cancelled. Waits at most `timeout_ns` (`RT_FOREVER`: without
 * limit); threads that are left then end by themselves later. `report` may be NULL. Called again,
 * it waits again. On a thread of the runtime's own nothing is waited for.
 * Returns `RT_OK` if all has ended. Errors: `RT_ETIMEDOUT` if something is left (`report` is written),
 * `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any @blocking
 */
RT_API int rt_runtime_shutdown(rt_runtime *runtime, uint64_t timeout_ns,
        rt_shutdown_report *report);

/* == Event loops ========================================================================= */

/* As a time limit or a timeout in nanoseconds: none. */
#define RT_FOREVER UINT64_MAX

/* An event loop: timers, watches, streams and tasks of one thread, which runs all of their
 * callbacks inside its own turns.
 *
 * A turn does, in this order: what other threads sent (`rt_loop_post`, wakes); timers that are
 * due; descriptors that are ready; tasks that were woken; the after-turn hook. Each part is
 * bounded, so that none starves another; `RT_PENDING` says that something is left.
 *
 * The loop belongs to the thread that turns it; between turns, to the one that turned it last or
 * made it. "@threads loop" means that thread: others get `RT_EPERM`. Another thread becomes the
 * owner by turning it.
 *
 * A host that has a loop of its own sleeps on `rt_loop_backend_fd` (level-triggered), or is told by
 * `rt_loop_set_notify`, and then calls `rt_loop_turn(loop, 0)`.
 */
typedef struct rt_loop rt_loop;

/* Options of a loop. Set up by `RT_LOOP_OPTIONS_INIT`. */
typedef struct rt_loop_options {
  /* `sizeof(rt_loop_options)`. */
  size_t size;
  /* Where the blocking jobs and name lookups of the loop go; NULL for nowhere. The loop keeps a
   * reference.
   */
  rt_runtime *runtime;
} rt_loop_options;

/* Is called when the loop wants a turn. */
typedef void (*rt_notify_fn)(void *data);

/* A hook of a loop. */
typedef void (*rt_hook_fn)(void *data);

/* Something to do once. */
typedef void (*rt_post_fn)(void *data);

/* Makes a loop that belongs to this thread. `options` may be NULL.
 * Errors: `RT_EINVAL`, `RT_E2BIG`, `RT_ESHUTDOWN`, `RT_EMFILE` and what else the system says.
 *
 * @threads any
 */
RT_API int rt_loop_new(const rt_loop_options *options, rt_loop **loop);

/* Another handle for the same loop.
 * Errors: `RT_EINVAL`.
 *
 * @threads any
 */
RT_API int rt_loop_clone(rt_loop *loop, rt_loop **clone);

/* Gives the handle back. With the last one the loop is closed: operations that are pending call
 * back with `RT_ECANCELED`, user data is dropped, both inside this call, or at the end of the turn
 * or call that is inside the loop just then. Other handles (watches, timers, streams, tasks of the
 * loop) remain to be freed; what is done with them returns `RT_ESHUTDOWN`.
 *
 * @threads any @consumes loop
 */
RT_API void rt_loop_free(rt_loop *loop);

/* Turns the loop until `rt_loop_stop`, or until nothing is alive: no watch, timer, task or pending
 * operation but those that were taken out by `rt_..._set_ref`.
 * Returns `RT_OK` if nothing is alive, `RT_PENDING` if it was stopped before.
 * Errors: `RT_EBUSY` inside a turn of this loop, `RT_EPERM` while another thread turns it,
 * `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads loop @blocking
 */
RT_API int rt_loop_run(rt_loop *loop);

/* One turn that waits until something happens, unless nothing is alive.
 * Returns `RT_PENDING` if something is alive still, else `RT_OK`. Errors: as `rt_loop_run`.
 *
 * @threads loop @blocking
 */
RT_API int rt_loop_run_once(rt_loop *loop);

/* One turn. It waits at most `timeout_ns` for something to do; 0 does not wait, `RT_FOREVER` waits
 * as long as it takes.
 * Returns `RT_PENDING` if there is more to do at once, else `RT_OK`. Errors: as `rt_loop_run`.
 *
 * @threads loop @blocking
 */
RT_API int rt_loop_turn(rt_loop *loop, uint64_t timeout_ns);

/* Makes `rt_loop_run` return after the turn that is under way; if none is, the next `rt_loop_run`
 * returns at once. The request is forgotten when `rt_loop_run` returns.
 * Errors: `RT_ESHUTDOWN`, `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any @signal_safe
 */
RT_API int rt_loop_stop(rt_loop *loop);

/* Whether something keeps `rt_loop_run` going: `RT_PENDING` if so, else `RT_OK`.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_loop_alive(rt_loop *loop);

/* The one descriptor to embed the loop with: it is readable whenever a turn would do something,
 * due timers and wakes from other threads included, so a host can sleep on it without a timeout.
 * Watch it level-triggered, or call `rt_loop_turn(loop, 0)` until it returns `RT_OK`. It belongs to
 * the loop: do not read, change or close it.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_loop_backend_fd(rt_loop *loop, int *fd);

/* How long a turn would wait at most, in nanoseconds: 0 if there is something to do, `RT_FOREVER`
 * if nothing is planned. Only a host that cannot sleep on the descriptor needs it.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_loop_timeout_ns(rt_loop *loop, uint64_t *timeout_ns);

/* Sets a function that is called when the loop wants a turn, for a host that cannot sleep on a
 * descriptor: on any thread, at most once until the next turn. It must not block nor turn the
 * loop itself; it tells the host to. NULL for none. If `rt_loop_wake` is called in signal handlers,
 * `notify` must be safe there. `drop(data)` runs when another function is set, or with the loop.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop @consumes data
 */
RT_API int rt_loop_set_notify(rt_loop *loop, rt_notify_fn notify, void *data, rt_drop_fn drop);

/* Sets functions for fixed points of each turn; each may be NULL. `before_wait` and `after_wait` run
 * around the blocking wait, and only if there is one: nothing else of the loop runs between them,
 * so a host can let go of a lock there. `after_turn` runs last. `drop(data)` runs when others are
 * set, or with the loop.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop @consumes data
 */
RT_API int rt_loop_set_hooks(rt_loop *loop, rt_hook_fn before_wait, rt_hook_fn after_wait,
        rt_hook_fn after_turn, void *data, rt_drop_fn drop);

/* Makes a turn happen: ends the wait of the loop, or of the host that sleeps on it. Wakes
 * coalesce. What was written before is seen by the turn.
 * Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads any @signal_safe
 */
RT_API int rt_loop_wake(rt_loop *loop);

/* In the child of a `fork` that goes on with the loop, first of all: gives the loop descriptors of its
 * own, with the same numbers, so that neither process disturbs the other's. Its watches, timers and
 * streams work in the child then; what was pending is pending in both processes, and sockets are
 * shared. Its tasks go on, but what they poll gives them `RT_EFORK`. For programs of one thread: a lock that another thread held at the fork is
 * held for ever in the child. A runtime that is attached does not exist in the child.
 * Errors: `RT_EINVAL` if the loop was made in this process, `RT_EBUSY` if it was being turned or used
 * at the fork, `-ENOSYS` where the system has no such means, `RT_ESHUTDOWN`, `RT_EMFILE`.
 *
 * @threads any
 */
RT_API int rt_loop_after_fork(rt_loop *loop);

/* Calls `call(data)` once in the next turn of the loop, then `drop(data)`. If the loop is closed
 * first, only `drop` is called.
 * Returns `RT_PENDING`. Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads any @consumes data
 */
RT_API int rt_loop_post(rt_loop *loop, rt_post_fn call, void *data, rt_drop_fn drop);

/* == Wakers ============================================================================== */

/* What a poll is told: who to wake when it is worth polling again. It is valid during that poll
 * only.
 */
typedef struct rt_context rt_context;

/* Wakes one task, on any thread, whoever it belongs to: a task of this library, or a caller's own
 * executor. Wakers are counted: each one from `rt_waker_clone` or `rt_waker_new` is given back by
 * `rt_waker_free` or `rt_waker_wake`. Waking a task that has ended is allowed and does nothing.
 * Wakes coalesce: any number of them before a poll cause one poll.
 */
typedef struct rt_waker rt_waker;

/* Wakes; it may be called on any thread, also inside a call of this library, and must not block.
 * No lock of the library is held during the call.
 */
typedef void (*rt_wake_fn)(void *data);

/* The waker that a poll must arrange to be woken before it returns `RT_PENDING`. It is lent:
 * clone it to keep it after the poll. NULL if `cx` is not a live context. Nothing is allocated.
 *
 * @threads any
 */
RT_API const rt_waker *rt_context_waker(const rt_context *cx);

/* A context for polling from an executor of the caller's own: pass it to any `rt_..._poll`
 * function in place of the one that a task gets. It keeps a clone of `waker`.
 * Errors: `RT_EINVAL`.
 *
 * @threads any
 */
RT_API int rt_context_new(const rt_waker *waker, rt_context **context);

/* Gives back a context of `rt_context_new`; one that a poll was lent is left alone.
 *
 * @threads any @consumes context
 */
RT_API void rt_context_free(rt_context *context);

/* A waker that calls `wake(data)`: with it, a caller's own executor can poll what this library
 * offers (see `rt_context_new`). The library counts the clones, and calls `drop(data)` after the
 * last one is gone. A panic of `wake` goes to the log.
 * Errors: `RT_EINVAL`.
 *
 * @threads any @consumes data
 */
RT_API int rt_waker_new(rt_wake_fn wake, void *data, rt_drop_fn drop, rt_waker **waker);

/* Another waker for the same task, to keep; NULL if `waker` is not a live waker.
 *
 * @threads any
 */
RT_API rt_waker *rt_waker_clone(const rt_waker *waker);

/* Wakes and gives the waker back. NULL and a waker that was lent are left alone.
 * What was written before this call is seen by the poll that it causes.
 *
 * @threads any @consumes waker
 */
RT_API void rt_waker_wake(rt_waker *waker);

/* Wakes and keeps the waker.
 * What was written before this call is seen by the poll that it causes.
 *
 * @threads any
 */
RT_API void rt_waker_wake_by_ref(const rt_waker *waker);

/* Gives a waker back without waking. NULL and a waker that was lent are left alone.
 *
 * @threads any @consumes waker
 */
RT_API void rt_waker_free(rt_waker *waker);

/* 1 if both wake the same task, 0 if they do not or it cannot be told: a poll that kept a waker
 * need not clone the new one then.
 *
 * @threads any
 */
RT_API int rt_waker_will_wake(const rt_waker *a, const rt_waker *b);

/* == Tasks =============================================================================== */

/* In `rt_spawn_options.flags`: `drop(data)` runs on the thread of the loop in
 * `rt_spawn_options.loop`, inside a turn; when that loop is closed, wherever the task ends.
 */
#define RT_DROP_ON_LOOP 1

/* A task: a poll function with its data, run by the workers of a runtime or inside the turns of a
 * loop. The handle only observes: freeing it detaches the task.
 *
 * The contract between a task and the library:
 * 1. Polls of one task never overlap, and each sees all that the one before wrote, across
 * workers.
 * 2. What is written before a wake is seen by the poll that it causes. A wake during a poll
 * means one more poll; any number of wakes before a poll mean one. No wake, no poll; there is
 * always a first poll unless the task is cancelled before it.
 * 3. `drop(data)` runs once, after the last poll and before anybody hears of the result: what
 * `data` points to may be freed by whoever hears.
 * 4. Results do not change once they can be seen.
 * 5. Cancelling or freeing a task is allowed anywhere, also inside its own poll. A poll that
 * is under way ends first, and if it says that the task is finished, that counts.
 * 6. At shutdown pending tasks get `drop` without another poll, then `RT_ECANCELED`; nothing of
 * a runtime runs after the last `rt_runtime_free` has returned.
 */
typedef struct rt_task rt_task;

/* How an operation or a task ended. */
typedef struct rt_result {
  /* `RT_OK`, or a negative `RT_E*`. */
  int32_t status;
  /* Zero in this version. */
  uint32_t flags;
  /* A count, as the operation says: bytes read, for example. */
  int64_t n;
  /* A pointer, as the operation says: an accepted stream, for example. */
  void *ptr;
  /* Zero in this version. */
  uint64_t reserved;
} rt_result;

/* Polls a task: does what can be done now and returns `RT_OK` or a negative code when the task is
 * finished, with what it wants to say in `*result` (the library sets `result->status`), or
 * `RT_PENDING` after it has arranged for the waker of `cx` to be woken. It must not block.
 */
typedef int (*rt_poll_fn)(void *data, rt_context *cx, rt_result *result);

/* Options of a task. Set up by `RT_SPAWN_OPTIONS_INIT`. */
typedef struct rt_spawn_options {
  /* `sizeof(rt_spawn_options)`. */
  size_t size;
  /* `RT_DROP_ON_LOOP`, or 0. */
  uint32_t flags;
  /* Zero in this version. */
  uint32_t reserved;
  /* The loop of `RT_DROP_ON_LOOP`, otherwise NULL. */
  rt_loop *loop;
} rt_spawn_options;

/* Hears how an operation or a task ended: called exactly once for each submission that returned
 * `RT_PENDING`, never inside the submitting call. `result` is valid during the call.
 */
typedef void (*rt_done_fn)(void *data, const rt_result *result);

/* Runs `poll(data, ...)` as a task on the workers of `runtime`. `options` and `task` may be NULL;
 * without `task` the task is detached from the start. The first poll may come before this call
 * returns, on another thread.
 * Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`, `RT_E2BIG`; `drop(data)` has run then.
 *
 * @threads any @consumes data
 */
RT_API int rt_spawn(rt_runtime *runtime, rt_poll_fn poll, void *data, rt_drop_fn drop,
        const rt_spawn_options *options, rt_task **task);

/* Runs `poll(data, ...)` as a task inside the turns of `loop`, on that loop's thread only.
 * `options` and `task` may be NULL.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`, `RT_E2BIG`; `drop(data)` has run
 * then.
 *
 * @threads loop @consumes data
 */
RT_API int rt_spawn_local(rt_loop *loop, rt_poll_fn poll, void *data, rt_drop_fn drop,
        const rt_spawn_options *options, rt_task **task);

/* Runs `poll(data, ...)` on the calling thread until it is finished, and blocks in between. Tasks
 * of `runtime` go on meanwhile, and what the poll uses (timers, sockets) is `runtime`'s.
 * `RT_OK` means that it finished, in whichever way: `*result` says how (`result` may be NULL).
 * Errors: `RT_EINVAL`, `RT_EDEADLK` inside a callback or a poll, `RT_ESHUTDOWN`, `RT_EFORK`;
 * `drop(data)` has run then.
 *
 * @threads any @blocking @consumes data
 */
RT_API int rt_block_on(rt_runtime *runtime, rt_poll_fn poll, void *data, rt_drop_fn drop,
        rt_result *result);

/* Turns `loop` on the calling thread until `poll(data, ...)`, run as a task of the loop, is
 * finished. Results as for `rt_block_on`.
 * Errors: `RT_ECANCELED` if the loop was stopped, `RT_EDEADLK` inside a callback or a poll,
 * `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop @blocking @consumes data
 */
RT_API int rt_loop_block_on(rt_loop *loop, rt_poll_fn poll, void *data, rt_drop_fn drop,
        rt_result *result);

/* Waits for `task` from inside another task: `RT_OK` when it has ended, with its result in
 * `*result` (which may be NULL), or `RT_PENDING`, and the waker of `cx` is woken when it ends.
 * Errors: `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_task_poll(rt_task *task, rt_context *cx, rt_result *result);

/* Blocks until `task` has ended, at most `timeout_ns` (`RT_FOREVER`: as long as it takes), and
 * writes its result to `*result` (which may be NULL).
 * Errors: `RT_ETIMEDOUT`, `RT_EDEADLK` inside a callback or a poll, `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any @blocking
 */
RT_API int rt_task_join(rt_task *task, uint64_t timeout_ns, rt_result *result);

/* Calls `done(data, result)` when `task` ends: inside a turn of the loop `on`, or with `on` NULL
 * on the thread on which the task ends (a worker; its loop's thread; at shutdown, the thread
 * that shuts down). If the task has ended already the callback comes just so, never inside this
 * call. Any number of callbacks can be set.
 * Returns `RT_PENDING`. Errors: `RT_EINVAL`, `RT_ESHUTDOWN` if where it should run is closed,
 * `RT_EFORK`; `drop(data)` has run then, and `done` is not called.
 *
 * @threads any @consumes data
 */
RT_API int rt_task_on_done(rt_task *task, rt_loop *on, rt_done_fn done, void *data,
        rt_drop_fn drop);

/* Asks for `task` to be cancelled: it gets `drop` instead of another poll, and its result is
 * `RT_ECANCELED`, unless it ends by itself first. A blocking job is cancelled only if it has
 * not begun. Idempotent; does not wait.
 * Errors: `RT_EALREADY` if it has ended, `RT_EBUSY` if it is a blocking job that runs, `RT_EINVAL`,
 * `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_task_cancel(rt_task *task);

/* Another handle for the same task.
 * Errors: `RT_EINVAL`.
 *
 * @threads any
 */
RT_API int rt_task_clone(rt_task *task, rt_task **clone);

/* Gives the handle back. The task goes on; cancel it first if it should not.
 *
 * @threads any @consumes task
 */
RT_API void rt_task_free(rt_task *task);

/* == Blocking jobs ======================================================================= */

/* A job that may block: returns `RT_OK` or a negative code, and may say more in `*result` (the
 * library sets `result->status`).
 */
typedef int (*rt_work_fn)(void *data, rt_result *result);

/* Runs `work(data, ...)`, which may block, on a thread that is there for that. `options` and `task`
 * may be NULL. To hear of the end on a loop, or from inside a task, use `rt_task_on_done` or
 * `rt_task_poll`. `rt_task_cancel` cancels a job that has not begun (its callbacks then come from
 * a worker), and returns `RT_EBUSY` for one that has.
 * Errors: `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`, `RT_E2BIG`; `drop(data)` has run then.
 *
 * @threads any @consumes data
 */
RT_API int rt_spawn_blocking(rt_runtime *runtime, rt_work_fn work, void *data, rt_drop_fn drop,
        const rt_spawn_options *options, rt_task **task);

/* == Timers ============================================================================== */

/* A timer of a loop, once or repeating. It never fires early; timers with equal deadlines fire in
 * the order in which they were started. A timer is its handle: freeing it stops it.
 */
typedef struct rt_timer rt_timer;

/* Is called when a timer fires. */
typedef void (*rt_timer_fn)(void *data);

/* The time of the clock that timers go by, in nanoseconds from a fixed point in the past. It never
 * goes back.
 *
 * @threads any
 */
RT_API uint64_t rt_now_ns(void);

/* Makes a timer that is not started. `drop(data)` runs when it is freed, or with the loop; on the
 * loop's thread.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop @consumes data
 */
RT_API int rt_timer_new(rt_loop *loop, rt_timer_fn fire, void *data, rt_drop_fn drop,
        rt_timer **timer);

/* Starts the timer, or starts it anew if it is running: it fires when `delay_ns` has passed, with 0
 * in the next turn, never in this one. With `repeat_ns` not 0 it fires again each time that this has
 * passed, without drift; a loop that is late by several periods fires it once. `RT_FOREVER` as a
 * delay is as good as never.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_timer_start(rt_timer *timer, uint64_t delay_ns, uint64_t repeat_ns);

/* Stops the timer: it does not fire, not even if it is due in this very turn. It can be started
 * again. Stopping twice does nothing.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_timer_stop(rt_timer *timer);

/* Whether the timer keeps `rt_loop_run` going while it is running (not 0), which it does at first.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_timer_set_ref(rt_timer *timer, int keeps_alive);

/* Stops the timer and gives the handle back; it may be its own callback that does so. On another
 * thread than the loop's it is stopped in the loop's next turn.
 *
 * @threads any @consumes timer
 */
RT_API void rt_timer_free(rt_timer *timer);

/* == Timers inside tasks ================================================================= */

/* A point in time that a task waits for. It belongs to the timers of the worker or the loop that
 * polls it first.
 */
typedef struct rt_sleep rt_sleep;

/* Makes a timer for tasks that is ready when `delay_ns` has passed, counted from now. It is never
 * early.
 * Errors: `RT_EINVAL`.
 *
 * @threads any
 */
RT_API int rt_sleep_new(uint64_t delay_ns, rt_sleep **sleep);

/* `RT_OK` when the time has come, also when it is polled again after that; else `RT_PENDING`, and the
 * waker of `cx` is woken when it is there. One task waits at a time.
 * Errors: `RT_ENORUNTIME` where there are neither workers nor a turning loop, `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_sleep_poll(rt_sleep *sleep, rt_context *cx);

/* Sets the timer anew: it is ready when `delay_ns` has passed from now. A task that waits for it is
 * not woken by this, but at the new time.
 * Errors: `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_sleep_reset(rt_sleep *sleep, uint64_t delay_ns);

/* Gives the timer back.
 *
 * @threads any @consumes sleep
 */
RT_API void rt_sleep_free(rt_sleep *sleep);

/* == Descriptors ========================================================================= */

/* A read would not block: there is data, the end of the stream, or an error to collect. */
#define RT_READABLE 1

/* A write would not block, or would return an error. */
#define RT_WRITABLE 2

/* Exceptional data, such as TCP's urgent data. */
#define RT_PRIORITY 4

/* Reported only: the peer will send no more. */
#define RT_READ_CLOSED 8

/* Reported only: both directions are closed. */
#define RT_HANGUP 16

/* Reported only: an error is pending. */
#define RT_ERROR 32

/* A descriptor that a loop watches. Level-triggered: the callback is called in every turn in which
 * the descriptor is ready, until the watch is paused, stopped or freed. All three take effect at
 * once, so that the descriptor can be closed right after; close it after, not before.
 * One watch for a descriptor and loop: it can ask for both directions.
 */
typedef struct rt_watch rt_watch;

/* Is called when a descriptor is ready for what was asked; `ready` is a set of `RT_READABLE` and so
 * on. An error or a hang-up is reported whatever was asked.
 */
typedef void (*rt_ready_fn)(void *data, uint32_t ready);

/* Watches `fd`, which stays the caller's, for `events` (`RT_READABLE`, `RT_WRITABLE`,
 * `RT_PRIORITY`, or 0 for a watch that is paused). `drop(data)` runs when the watch is stopped or
 * freed, or with the loop; on the loop's thread.
 * Errors: `RT_EEXIST` if this loop watches `fd` already, `RT_EPERM` for a regular file, which is
 * always ready, or on another thread, `RT_EBADF`, `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`;
 * `drop(data)` has run then.
 *
 * @threads loop @consumes data
 */
RT_API int rt_watch_new(rt_loop *loop, int fd, uint32_t events, rt_ready_fn ready, void *data,
        rt_drop_fn drop, rt_watch **watch);

/* Watches for other events from now on; 0 pauses the watch, and not even a hang-up is reported.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_EBADF` or `-ENOENT` if the descriptor was closed or the
 * watch stopped, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_watch_set(rt_watch *watch, uint32_t events);

/* Whether the watch keeps `rt_loop_run` going (not 0), which it does at first.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_watch_set_ref(rt_watch *watch, int keeps_alive);

/* Ends the watch at once: `ready` is not called again, not even for an event that this turn has
 * fetched already. `drop(data)` has run when this returns, unless `ready` is running: then it
 * runs after that. Stopping twice does nothing.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_watch_stop(rt_watch *watch);

/* Stops the watch and gives the handle back. On another thread than the loop's it is stopped in
 * the loop's next turn; the descriptor must stay open until then (`drop(data)` tells).
 *
 * @threads any @consumes watch
 */
RT_API void rt_watch_free(rt_watch *watch);

/* == Streams ============================================================================= */

/* A connection. It is at home where it was made:
 *
 * - on a loop: its operations are submitted on the loop's thread, their callbacks run inside the
 * loop's turns, and it has no poll functions;
 * - on a runtime: any thread may submit, callbacks run on workers;
 * - in a task (from a poll function): poll functions only. Those work for a stream of a runtime
 * too, inside any task.
 *
 * One read and any number of writes can be pending at a time. An operation that finishes at once
 * says so by returning `RT_OK`, and does not call back. `RT_PENDING` means that its callback will
 * come: exactly once, also when it is cancelled; until then its memory is the library's.
 *
 * Freeing the handle closes the stream when what is pending has ended; `rt_stream_close` closes
 * it now.
 */
typedef struct rt_stream rt_stream;

/* A piece of memory, laid out as `struct iovec`. */
typedef struct rt_buf {
  /* The first byte. */
  const void *base;
  /* How many bytes. */
  size_t len;
} rt_buf;

/* Sends the end of the stream after all that was submitted before; reading goes on. `RT_OK` if it
 * was sent now, else `RT_PENDING`, and `done` is called when it was, or could not be.
 * Errors (`done` is not called, `drop(data)` has run): `RT_EALREADY` the second time, `RT_ENOTCONN`,
 * `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any) @consumes data
 */
RT_API int rt_stream_shutdown(rt_stream *stream, rt_done_fn done, void *data, rt_drop_fn drop);

/* Cancels the read and the writes that are pending: each calls back with `RT_ECANCELED`, or with
 * its real result, and says in `result->n` how many bytes were transferred. What
 * `rt_stream_read_start` began goes on.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_cancel(rt_stream *stream);

/* Closes the stream now, whatever is pending: that calls back as for `rt_stream_cancel`. What is
 * done with the handle then returns `RT_EBADF`; it remains to be freed. Closing twice does nothing.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_close(rt_stream *stream);

/* As `rt_stream_close`, and the peer gets a reset instead of the end of the stream.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_reset(rt_stream *stream);

/* The address of this end: as text in figures in `host`, which has room for `len` bytes (46 are
 * always enough, 64 with a scope), and the port. Either may be NULL.
 * Errors: `-ENOSPC` if `host` is too small, `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`,
 * `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_local_addr(rt_stream *stream, char *host, size_t len, uint16_t *port);

/* The address of the other end, as `rt_stream_local_addr`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_peer_addr(rt_stream *stream, char *host, size_t len, uint16_t *port);

/* Whether small writes leave at once (not 0) instead of waiting for the peer's acknowledgement of
 * those before (`TCP_NODELAY`). The system's default is 0.
 * Errors: `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_set_nodelay(rt_stream *stream, int on);

/* Another handle for the same stream.
 * Errors: `RT_EINVAL`.
 *
 * @threads any
 */
RT_API int rt_stream_clone(rt_stream *stream, rt_stream **clone);

/* Gives the handle back. With the last one, what `rt_stream_read_start` began is ended, and the
 * stream is closed as soon as no read or write is pending. On another thread than its loop's that
 * is done in the loop's next turn.
 *
 * @threads any @consumes stream
 */
RT_API void rt_stream_free(rt_stream *stream);

/* == Streams: reading and writing ======================================================== */

/* Reads what is there, at most `len` bytes: `RT_OK` and at least one byte in `*n`, or `RT_PENDING`
 * and the waker of `cx` is woken when it is worth polling again. Nothing is allocated.
 * Errors: `RT_EOF` when the peer has sent all, `RT_ECONNRESET` and what else the system says,
 * `RT_EINVAL` for no memory or a stream of a loop, `RT_EBADF` after `rt_stream_close`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_stream_poll_read(rt_stream *stream, rt_context *cx, void *data, size_t len,
        size_t *n);

/* Writes what there is room for, at most `len` bytes: `RT_OK` and how many in `*n`, or `RT_PENDING`
 * and the waker of `cx` is woken when it is worth polling again. Nothing is allocated.
 * Errors: `RT_EPIPE`, `RT_ECONNRESET` and what else the system says, `RT_EINVAL` for no memory or a
 * stream of a loop, `RT_EBADF` after `rt_stream_close`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_stream_poll_write(rt_stream *stream, rt_context *cx, const void *data, size_t len,
        size_t *n);

/* As `rt_stream_poll_write` with several pieces, which leave together as far as there is room.
 *
 * @threads any
 */
RT_API int rt_stream_poll_writev(rt_stream *stream, rt_context *cx, const rt_buf *bufs,
        size_t count, size_t *n);

/* Reads what is there, at most `len` bytes: `RT_OK` and at least one byte in `*n` if there is
 * something now; else `RT_PENDING`, and `done` is called when something has come, with the count in
 * `result->n`, or with an error, or with `RT_EOF` when the peer has sent all. The memory is the
 * library's until then.
 * Errors (`done` is not called, `drop(data)` has run): `RT_EOF`, `RT_EBUSY` while another read is
 * pending, `RT_ECONNRESET` and what else the system says, `RT_EBADF` after `rt_stream_close`,
 * `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any) @consumes data
 */
RT_API int rt_stream_read(rt_stream *stream, void *buffer, size_t len, size_t *n, rt_done_fn done,
        void *data, rt_drop_fn drop);

/* Calls `received` with all that comes, piece by piece: `result->n` bytes at `result->ptr`, which are
 * valid during the call. No memory is kept for a stream on which nothing comes. The last call has
 * an error, or `RT_EOF` when the peer has sent all. No call comes after `rt_stream_read_stop`,
 * `rt_stream_close` or `rt_stream_free`. Then, or after the last call, `drop(data)` runs.
 * Returns `RT_PENDING`. Errors: `RT_EBUSY` while another read is pending, `RT_EBADF` after
 * `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop (of a runtime: any) @consumes data
 */
RT_API int rt_stream_read_start(rt_stream *stream, rt_done_fn received, void *data,
        rt_drop_fn drop);

/* Ends what `rt_stream_read_start` began: on a loop no call comes after this; on a runtime one that is
 * under way on another thread may still be, and `drop(data)` tells when it is over. It can be
 * started again. Stopping what is not started does nothing.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_read_stop(rt_stream *stream);

/* Writes `len` bytes: `RT_OK` if all were taken now (and `*n`, which may be NULL, is `len`), else
 * `RT_PENDING`, and `done` is called when the last has been taken, or with an error; `result->n`
 * says how many were. Writes leave in the order of their submission. The memory is the library's
 * until `done` is called; it is not copied.
 * Errors (`done` is not called, `drop(data)` has run): `RT_EPIPE`, `RT_ECONNRESET` and what else the
 * system says, `RT_EBADF` after `rt_stream_close`, `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`,
 * `RT_EFORK`. No signal is raised.
 *
 * @threads loop (of a runtime: any) @consumes data
 */
RT_API int rt_stream_write(rt_stream *stream, const void *bytes, size_t len, size_t *n,
        rt_done_fn done, void *data, rt_drop_fn drop);

/* As `rt_stream_write` with several pieces, which leave together as far as there is room. The
 * array is copied, what it points to is not.
 *
 * @threads loop (of a runtime: any) @consumes data
 */
RT_API int rt_stream_writev(rt_stream *stream, const rt_buf *bufs, size_t count, size_t *n,
        rt_done_fn done, void *data, rt_drop_fn drop);

/* Writes what there is room for now, at most `len` bytes, and says how many in `*n`.
 * Errors: `RT_EAGAIN` if there is no room, or writes are queued; else as `rt_stream_write`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_try_write(rt_stream *stream, const void *bytes, size_t len, size_t *n);

/* How many bytes of submitted writes wait for room, in `*n`: the measure for back-pressure. 0 does
 * not mean that all callbacks have come: several writes may end at once, and they are told one
 * after the other.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (of a runtime: any)
 */
RT_API int rt_stream_queued(rt_stream *stream, size_t *n);

/* == TCP: listening ====================================================================== */

/* In `rt_listen_options.flags`: several sockets may listen on the address, of this process and of
 * others of the same user, and the system spreads connections over them (`SO_REUSEPORT`).
 */
#define RT_REUSE_PORT 1

/* A socket that accepts connections: on a loop or on workers with `rt_listener_start`, or inside
 * tasks with `rt_listener_poll_accept`. A listener is its handle: freeing it stops and closes it.
 */
typedef struct rt_listener rt_listener;

/* Options of a listener. Set up by `RT_LISTEN_OPTIONS_INIT`. */
typedef struct rt_listen_options {
  /* `sizeof(rt_listen_options)`. */
  size_t size;
  /* `RT_REUSE_PORT`, or 0. */
  uint32_t flags;
  /* How many connections may wait to be accepted; 0 for 4096. The system has a limit of its own. */
  uint32_t backlog;
} rt_listen_options;

/* Listens on `host`, an address in figures ("127.0.0.1", "::", ...), and `port`; 0 lets the system
 * choose one, which `rt_listener_local_addr` tells. `options` may be NULL.
 * Errors: `RT_EADDRINUSE`, `-EADDRNOTAVAIL`, `-EACCES`, `RT_EMFILE`, `RT_EINVAL`, also for a host that
 * is not in figures, `RT_E2BIG`.
 *
 * @threads any
 */
RT_API int rt_tcp_listen(const char *host, uint16_t port, const rt_listen_options *options,
        rt_listener **listener);

/* The address that it listens on, as `rt_stream_local_addr`.
 *
 * @threads any
 */
RT_API int rt_listener_local_addr(rt_listener *listener, char *host, size_t len, uint16_t *port);

/* Accepts a connection inside a task: `RT_OK` and a stream of that task in `*stream`, or `RT_PENDING`
 * and the waker of `cx` is woken when it is worth polling again. Several tasks may wait.
 * Errors: `RT_EMFILE`, `-ENFILE`, `-ENOBUFS`, `RT_ENOMEM` if something has run out: the connection
 * waits, poll again a little later; `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_listener_poll_accept(rt_listener *listener, rt_context *cx, rt_stream **stream);

/* Calls `accepted` for each connection, with a stream in `result->ptr` that belongs to the callee: a
 * stream of the loop `on`, inside its turns; or, with `on` NULL, a stream of `runtime`, on a
 * worker, one call at a time. If something has run out (`RT_EMFILE` and the like), `accepted` gets
 * that error, connections wait, and a little later it goes on by itself. `drop(data)` runs when the
 * listener is stopped or freed, or with the loop or the runtime.
 * Returns `RT_PENDING`. Errors: `RT_EBUSY` if it is started, `RT_EINVAL`, `RT_EPERM` on another thread
 * than that of `on`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop (with a runtime: any) @consumes data
 */
RT_API int rt_listener_start(rt_listener *listener, rt_runtime *runtime, rt_loop *on,
        rt_done_fn accepted, void *data, rt_drop_fn drop);

/* Ends what `rt_listener_start` began: on a loop no call comes after this; on a runtime one that is
 * under way on another thread may still be, and `drop(data)` tells when it is over. Connections go
 * on to be queued by the system; it can be started again. Stopping twice does nothing.
 * Errors: `RT_EINVAL`, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop (with a runtime: any)
 */
RT_API int rt_listener_stop(rt_listener *listener);

/* Whether a listener that was started on a loop keeps `rt_loop_run` going (not 0), which it does at
 * first.
 * Errors: `RT_EINVAL`, also if it is not started on a loop, `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads loop
 */
RT_API int rt_listener_set_ref(rt_listener *listener, int keeps_alive);

/* Stops the listener, closes its socket, and gives the handle back. On another thread than its
 * loop's that is done in the loop's next turn.
 *
 * @threads any @consumes listener
 */
RT_API void rt_listener_free(rt_listener *listener);

/* == TCP: connecting ===================================================================== */

/* A connection that is being made inside a task, to be polled by it. */
typedef struct rt_connect rt_connect;

/* An operation that is under way and can be cancelled. Freeing the handle leaves the operation
 * alone.
 */
typedef struct rt_op rt_op;

/* Asks for an operation to be cancelled: its callback comes with `RT_ECANCELED`, or with its real
 * result if it has one. If it has ended, this does nothing.
 * Errors: `RT_EINVAL`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_op_cancel(rt_op *op);

/* Gives the handle back. The operation goes on.
 *
 * @threads any @consumes op
 */
RT_API void rt_op_free(rt_op *op);

/* Connects to `host`, a name or an address in figures, and `port`, and calls `connected` with a
 * stream in `result->ptr` that belongs to the callee: a stream of the loop `on`, inside its turns; or,
 * with `on` NULL, a stream of `runtime`, on a worker. Names are looked up on `runtime`, or on the
 * runtime that is attached to `on`. All addresses of a name are tried, the families in turn, the next
 * 250 ms after the one before or when that has failed (RFC 8305). `op` may be NULL.
 * Returns `RT_PENDING`. The result's errors: `RT_ECONNREFUSED`, `RT_ETIMEDOUT`, `-ENETUNREACH` and what
 * else the system says of the last address that was tried; `RT_EAI_NONAME` and so on;
 * `RT_ECANCELED`. Errors of the call: `RT_ENORUNTIME` for a name without a runtime, `RT_EINVAL`,
 * `RT_EPERM`, `RT_ESHUTDOWN`, `RT_EFORK`; `drop(data)` has run then.
 *
 * @threads loop (with a runtime: any) @consumes data
 */
RT_API int rt_tcp_connect(rt_runtime *runtime, rt_loop *on, const char *host, uint16_t port,
        rt_done_fn connected, void *data, rt_drop_fn drop, rt_op **op);

/* Begins to connect as `rt_tcp_connect` does, for a task that polls. Nothing happens before the first
 * poll. `runtime` looks a name up; for an address in figures it may be NULL.
 * Errors: `RT_ENORUNTIME` for a name without a runtime, `RT_EINVAL`, `RT_ESHUTDOWN`, `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_connect_new(rt_runtime *runtime, const char *host, uint16_t port,
        rt_connect **connect);

/* `RT_OK` and a stream of the task in `*stream` when it is connected, once, or `RT_PENDING`, and the
 * waker of `cx` is woken when it is worth polling again.
 * Errors: as the result of `rt_tcp_connect`; `RT_EINVAL`, also when it has ended before; `RT_EFORK`.
 *
 * @threads any
 */
RT_API int rt_connect_poll(rt_connect *connect, rt_context *cx, rt_stream **stream);

/* Gives up the connection if it is not made yet, and gives the handle back.
 *
 * @threads any @consumes connect
 */
RT_API void rt_connect_free(rt_connect *connect);

/* == Initialisers ======================================================================== */

/* Each sets the defaults: rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT; */
#define RT_RUNTIME_OPTIONS_INIT { sizeof(rt_runtime_options), 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL }
#define RT_SHUTDOWN_REPORT_INIT { sizeof(rt_shutdown_report), 0, 0, 0 }
#define RT_LOOP_OPTIONS_INIT { sizeof(rt_loop_options), NULL }
#define RT_SPAWN_OPTIONS_INIT { sizeof(rt_spawn_options), 0, 0, NULL }
#define RT_LISTEN_OPTIONS_INIT { sizeof(rt_listen_options), 0, 0 }

#ifdef __cplusplus
}
#endif

#endif /* LIBRUNTIME_RUNTIME_H */

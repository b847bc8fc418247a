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
@PROGRAM@
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

@SECTIONS@
/* == Initialisers ======================================================================== */

/* Each sets the defaults: rt_runtime_options options = RT_RUNTIME_OPTIONS_INIT; */
@INITIALISERS@

#ifdef __cplusplus
}
#endif

#endif /* LIBRUNTIME_RUNTIME_H */

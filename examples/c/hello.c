#include <libruntime/runtime.h>
#include <stdio.h>

static void tick(void *loop) { puts("hello, a second later"); rt_loop_stop(loop); }

int main(void) {
    rt_loop *loop; rt_timer *timer;
    if (rt_loop_new(NULL, &loop) < 0) return 1;
    if (rt_timer_new(loop, tick, loop, NULL, &timer) == RT_OK) rt_timer_start(timer, 1000000000, 0);
    rt_loop_run(loop); rt_timer_free(timer); rt_loop_free(loop);
    return 0;
}

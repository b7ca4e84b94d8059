/* The wall's clock of a process, moved by the seconds that stand in the file $CLOCK_FILE; all else of time goes on.
   gRPC's own clock is left alone: it waits for absolute times, which the kernel would not move with us. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long moved(void *caller) {
    Dl_info who;
    char text[32] = {0};
    const char *path = getenv("CLOCK_FILE");
    if (!path || (dladdr(caller, &who) && who.dli_fname && strstr(who.dli_fname, "cygrpc"))) return 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += moved(__builtin_return_address(0));
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec + moved(__builtin_return_address(0));
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    time_t told = now.tv_sec + moved(__builtin_return_address(0));
    if (at) *at = told;
    return told;
}

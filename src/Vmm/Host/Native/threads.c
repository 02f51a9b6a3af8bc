/*
 * Threads without waiting for them to run (HostThread).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <time.h>

enum { SECOND = 1000000000 };

/* An error number, or 0. */
int vmm_thread_start(pthread_t *thread, size_t stack_size, void *(*enter)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int error = pthread_attr_setstacksize(&attributes, stack_size);
    if (error == 0)
        error = pthread_create(thread, &attributes, enter, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

/* An error number, or 0; ETIMEDOUT after so many nanoseconds, negative for no limit. */
int vmm_thread_join(pthread_t thread, long nanoseconds)
{
    if (nanoseconds < 0)
        return pthread_join(thread, NULL);
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    nanoseconds += end.tv_nsec;
    end.tv_sec += nanoseconds / SECOND;
    end.tv_nsec = nanoseconds % SECOND;
    return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &end);
}

void vmm_thread_detach(pthread_t thread)
{
    pthread_detach(thread);
}

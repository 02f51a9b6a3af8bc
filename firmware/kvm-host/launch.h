/* Parts of launch that stand in files of their own. */
#ifndef KVM_HOST_LAUNCH_H
#define KVM_HOST_LAUNCH_H

#include "frames.h"

struct options {
    double timeout, silence, idle;
    const char *key;                    /* of --local and --start */
    const char *warm;                   /* start, status, stop; NULL for a command */
    int verbose;
    int stays;                          /* the command leaves machines in a warm host, which is started if there is none */
    char **shares, **variables;         /* ended by NULL */
    char **command;
    int command_count;
    char **machine;                     /* QEMU and its arguments, ended by NULL */
};

void options_read(struct options *options, int count, char **words);

/* All frames up to FRAME_START. */
void describe_command(const struct options *options, const struct start_frame *start, struct queue *sent);

/* Blocks the signals that are passed on or end the machine; they come on the descriptor that this returns. Stops and
   continuations are the command's only if it is `local`. */
int signals_catch(int local);

/* Ends this process by a signal, blocked and ignored ones too. */
_Noreturn void signals_die_of(int number);

/* Ends this process with one line on standard error. */
_Noreturn void launch_fail(const char *message);

#endif

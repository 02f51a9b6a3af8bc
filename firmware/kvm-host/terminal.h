/*
 * The terminal of the user, if there is one. It keeps doing its own work (lines, echo, signals) until the command inside
 * changes the settings of its terminal: then this one gets the same. So it is touched when the command would have
 * touched it, and read when the command would have read it. Out of the foreground it is left alone.
 */
#ifndef KVM_HOST_TERMINAL_H
#define KVM_HOST_TERMINAL_H

#include <stdint.h>
#include <termios.h>

struct terminal {
    int fd;                     /* -1 without a terminal */
    uint32_t streams;           /* bit N: descriptor N is it */
    struct termios before, wanted;
    int is_wanted, is_applied;
};

void terminal_open(struct terminal *terminal);
int terminal_in_foreground(const struct terminal *terminal);

/* The settings that the command has given its own terminal. */
void terminal_want(struct terminal *terminal, const struct termios *mode);

/* Applies what is wanted, where that may be done now. */
void terminal_apply(struct terminal *terminal);
void terminal_restore(struct terminal *terminal);

/* Whether keys are the command's to read. */
int terminal_is_read(const struct terminal *terminal);

#endif

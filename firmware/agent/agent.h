/* The parts of the agent, and what each gives the others. */
#ifndef AGENT_H
#define AGENT_H

#include "protocol.h"
#include "sys.h"

/* agent.c */
extern int is_init;                     /* process 1 of a machine; else a test runs it */
extern const char *serial_device;       /* the one to speak over, for tests; else NULL */
_Noreturn void go_off(void);

/* link.c: frames to and from vmm. */
extern int link_fd;
extern u32 link_window;                 /* bytes of input that a process may have on its way */
/* Finds the way to vmm; says on the console when there is none. */
void link_open(void);
/* Room for the content of a frame, `*room` bytes of it; link_put then sends what was written there. */
u8 *link_reserve(usize *room);
void link_put(u32 process, enum frame_type type, usize length);
void link_send(u32 process, enum frame_type type, const void *content, usize length);
void link_send_text(u32 process, enum frame_type type, const char *text);
void link_note(const char *what, const char *name, long error);
void link_flush(void);
/* Reads what there is and has handle_frame called for each whole frame. */
void link_receive(void);

/* setup.c: what is done once. Frames of process 0. */
void load_modules(void);
void handle_setup(enum frame_type type, char *content, usize length);
_Noreturn void set_up_failed(const char *what, const char *name, long error);

/* hold.c: a machine that is forked stands still until each of its copies knows which one it is. */
extern int is_held;
void hold_machine(void);
void let_go(u32 number, u32 asked);

/* fork.c: processes that ask for forks of their machine. */
void forks_allow(void);
struct pollfd forks_watch(void);
void forks_serve(void);
/* Answers whoever asked: the number of this machine, or -errno. */
void forks_settle(long result);
/* The program that asks. */
_Noreturn void ask_for_forks(const char *count);

/* process.c: what runs. Frames of the others. */
extern int first_process;               /* the number of the first that was started; 0: none was */
void handle_process(u32 process, enum frame_type type, char *content, usize length);
void processes_reap(void);
/* Fills descriptors to wait for; returns how many. */
usize processes_watch(struct pollfd *watched, int *timeout);
void processes_serve(const struct pollfd *watched, usize count);
void processes_kill(void);
/* Tells another vmm than the one that started them of all that there are, and gives it their streams. */
void processes_report(void);

/* user.c: takes on a user, "name[:group]"; returns 0 or -errno. `home` gets the home directory. */
int become_user(const char *user, char *home, usize room);

#endif

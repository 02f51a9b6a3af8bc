/* Forks that a process of the guest asks for: it connects to the agent, says how many, and hears which of the machines it is in. */
#include "agent.h"

enum { WAITING_MOST = 16 };

static const struct local_address address = { AF_UNIX_, 0, { 'v', 'm', 'm', '-', 'f', 'o', 'r', 'k' } };

static int listening = -1, asking = -1;
static int has_asked;                   /* vmm knows of it */

void forks_allow(void)
{
    if (listening >= 0)
        return;
    listening = (int)CALL(socket, AF_UNIX_, SOCK_SEQPACKET_ | SOCK_CLOEXEC_, 0);
    long error = listening < 0 ? listening : CALL(bind, listening, &address, sizeof address);
    if (error == 0)
        error = CALL(listen, listening, WAITING_MOST);
    if (error < 0)
        link_note("listening for", "vmm-fork", error);
}

/* One at a time; others wait to be let in. */
struct pollfd forks_watch(void)
{
    return (struct pollfd){ .fd = asking < 0 ? listening : has_asked ? -1 : asking, .events = POLLIN };
}

void forks_serve(void)
{
    u32 count = 0;
    if (asking < 0) {
        asking = (int)CALL(accept4, listening, NULL, NULL, SOCK_CLOEXEC_);
        return;
    }
    long got = CALL(recvfrom, asking, &count, sizeof count, MSG_DONTWAIT_, NULL);
    if (got != sizeof count) {
        CALL(close, asking);
        asking = -1;
        return;
    }
    has_asked = 1;
    link_send(0, FRAME_FORK, &count, sizeof count);
}

void forks_settle(long result)
{
    int answer = (int)result;
    if (!has_asked)
        return;
    CALL(sendto, asking, &answer, sizeof answer, MSG_DONTWAIT_ | MSG_NOSIGNAL_, NULL);
    CALL(close, asking);
    asking = -1;
    has_asked = 0;
}

static _Noreturn void finish(int fd, int code, const char *what, long error)
{
    char text[200] = "", *at = text, *stop = text + sizeof text - 1;
    at = append(at, stop, what);
    if (error < 0)
        at = append_number(append(at, stop, ": errno "), stop, -error);
    *at++ = '\n';
    CALL(write, fd, text, at - text);
    for (;;)
        CALL(exit_group, code);
}

_Noreturn void ask_for_forks(const char *text)
{
    long wanted = number(text);
    u32 count = (u32)wanted;
    int answer = 0;
    char digits[24];
    if (wanted < 1 || wanted > 0xffff)
        finish(2, 64, "usage: vmm-fork N; makes N forks of this machine, and prints 0 in this one and 1 to N in those", 0);
    int fd = (int)CALL(socket, AF_UNIX_, SOCK_SEQPACKET_ | SOCK_CLOEXEC_, 0);
    long error = fd < 0 ? fd : CALL(connect, fd, &address, sizeof address);
    if (error < 0)
        finish(2, 1, "vmm-fork: vmm does not let this machine ask for forks (vmm run -d --fork-port)", error);
    error = CALL(write, fd, &count, sizeof count);
    if (error >= 0)
        error = CALL(read, fd, &answer, sizeof answer);
    if (error != sizeof answer)
        finish(2, 1, "vmm-fork: the agent does not answer", error < 0 ? error : -EIO);
    if (answer < 0)
        finish(2, 1, answer == -EPERM ? "vmm-fork: a fork may make none itself"
            : answer == -EAGAIN ? "vmm-fork: more than this machine may have (--fork-port=N), or it was itself forked meanwhile"
            : "vmm-fork: the machine was not forked; its log tells why", answer);
    *append_number(digits, digits + sizeof digits - 1, answer) = 0;
    finish(1, 0, digits, 0);
}

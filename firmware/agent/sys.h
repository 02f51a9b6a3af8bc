/* System calls without a C library (x86-64), and the few structures that the kernel's own headers lack. */
#ifndef AGENT_SYS_H
#define AGENT_SYS_H

#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <asm/termbits.h>
#include <asm/termios.h>
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <linux/resource.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/utsname.h>
#include <linux/wait.h>
#include <stddef.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long u64;
typedef unsigned long usize;

enum { AF_UNIX_ = 1, AF_INET_ = 2, AF_VSOCK_ = 40, SOCK_STREAM_ = 1, SOCK_DGRAM_ = 2, SOCK_SEQPACKET_ = 5, MSG_DONTWAIT_ = 0x40, MSG_NOSIGNAL_ = 0x4000, SOCK_CLOEXEC_ = O_CLOEXEC };
enum { SIOCGIFNAME_ = 0x8910, SIOCGIFFLAGS_ = 0x8913, SIOCSIFFLAGS_ = 0x8914, SIOCSIFHWADDR_ = 0x8924, SIOCGIFHWADDR_ = 0x8927 };
enum { IFF_UP_ = 1, ARPHRD_ETHER_ = 1 };

/* struct sockaddr_vm. */
struct vsock_address {
    u16 family, reserved;
    u32 port, cid;
    u8 zero[4];
};

/* struct ifreq, as far as flags go. */
struct interface_request {
    char name[16];
    short flags;
    char rest[22];
};

/* The same, as far as addresses of hardware go; an index is where the family is. */
struct interface_address {
    char name[16];
    u16 family;
    u8 address[6];
    char rest[16];
};

/* struct sockaddr_un, with a name that no file system has. */
struct local_address {
    u16 family;
    char zero, name[8];
};

static inline long sys(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define SYS_(_1, _2, _3, _4, _5, _6, name, ...) name
#define SYS1(n) sys(n, 0, 0, 0, 0, 0)
#define SYS2(n, a) sys(n, (long)(a), 0, 0, 0, 0)
#define SYS3(n, a, b) sys(n, (long)(a), (long)(b), 0, 0, 0)
#define SYS4(n, a, b, c) sys(n, (long)(a), (long)(b), (long)(c), 0, 0)
#define SYS5(n, a, b, c, d) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), 0)
#define SYS6(n, a, b, c, d, e) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
/* CALL(name, arguments...): the result, or -errno. */
#define CALL(...) SYS_(__VA_ARGS__, SYS6, SYS5, SYS4, SYS3, SYS2, SYS1)(__NR_##__VA_ARGS__)

void *memcpy(void *to, const void *from, usize count);
void *memmove(void *to, const void *from, usize count);
void *memset(void *to, int value, usize count);
int memcmp(const void *a, const void *b, usize count);
usize strlen(const char *text);

/* Where the first `value` is, or NULL. */
const char *find(const char *bytes, char value, usize count);
int equal(const char *a, const char *b);
/* A decimal number, or -1. */
long number(const char *text);
/* Puts text behind what is there, cut to the room; returns the new end. */
char *append(char *at, const char *end, const char *text);
char *append_number(char *at, const char *end, long value);
u32 crc32c(u32 before, const void *bytes, usize count);

#endif

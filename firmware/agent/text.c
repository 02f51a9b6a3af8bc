/* The functions of a C library that the agent needs; the compiler calls some of them by itself. */
#include "sys.h"

void *memcpy(void *to, const void *from, usize count)
{
    void *result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    return result;
}

void *memmove(void *to, const void *from, usize count)
{
    u8 *target = to;
    const u8 *source = from;
    if (target <= source || target >= source + count)
        return memcpy(to, from, count);
    while (count-- != 0)
        target[count] = source[count];
    return to;
}

void *memset(void *to, int value, usize count)
{
    void *result = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return result;
}

int memcmp(const void *a, const void *b, usize count)
{
    const u8 *left = a, *right = b;
    for (; count != 0; left++, right++, count--)
        if (*left != *right)
            return *left - *right;
    return 0;
}

usize strlen(const char *text)
{
    usize length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

const char *find(const char *bytes, char value, usize count)
{
    for (; count != 0; bytes++, count--)
        if (*bytes == value)
            return bytes;
    return NULL;
}

int equal(const char *a, const char *b)
{
    usize length = strlen(a);
    return length == strlen(b) && memcmp(a, b, length) == 0;
}

long number(const char *text)
{
    long value = 0;
    if (*text == 0)
        return -1;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9' || value > 0xffffffff)
            return -1;
        value = value * 10 + (*text - '0');
    }
    return value;
}

char *append(char *at, const char *end, const char *text)
{
    while (*text != 0 && at < end)
        *at++ = *text++;
    return at;
}

char *append_number(char *at, const char *end, long value)
{
    char digits[24], *next = digits + sizeof digits - 1;
    u64 rest = value < 0 ? -(u64)value : (u64)value;
    *next = 0;
    do {
        *--next = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0)
        *--next = '-';
    return append(at, end, next);
}

/* RFC 3720, appendix B.4: polynomial 0x1edc6f41, reflected; four bits at a time. */
u32 crc32c(u32 before, const void *bytes, usize count)
{
    static const u32 nibbles[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    u32 crc = ~before;
    for (const u8 *next = bytes; count != 0; next++, count--) {
        crc = crc >> 4 ^ nibbles[(crc ^ *next) & 15];
        crc = crc >> 4 ^ nibbles[(crc ^ *next >> 4) & 15];
    }
    return ~crc;
}

/*
 * What the runtime has of libm.so.6: bound by the linker, the library would be loaded at every start, which is 50 us of 1,700 and
 * 350 KiB of memory. In the library for vmm.dll it is for tests.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static double whole_part(double x)
{
    return fabs(x) < 0x1p52 ? copysign((double)(int64_t)x, x) : x;      /* from there on all are whole; or infinite, or NaN */
}

double ceil(double x)
{
    double whole = whole_part(x);
    return whole < x ? whole + 1 : whole;
}

double modf(double x, double *whole)
{
    *whole = whole_part(x);
    return copysign(isinf(x) ? 0 : x - *whole, x);
}

/* vmm calls none of these; parts of the runtime that it does not use could. */
static void *find(const char *name)
{
    void *library = dlopen("libm.so.6", RTLD_NOW);
    void *function = library ? dlsym(library, name) : NULL;
    if (!function) {
        fprintf(stderr, "vmm: libm.so.6: %s\n", dlerror());
        abort();
    }
    return function;
}

double cos(double x)
{
    return ((double (*)(double))find("cos"))(x);
}

double log(double x)
{
    return ((double (*)(double))find("log"))(x);
}

double pow(double x, double y)
{
    return ((double (*)(double, double))find("pow"))(x, y);
}

double sin(double x)
{
    return ((double (*)(double))find("sin"))(x);
}

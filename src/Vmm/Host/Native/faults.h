/* Memory whose page faults are served: faults.c serves, faults-start.c is what C# calls. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#define CHUNK 65536ull          /* as MemoryChecksums has it */
#define PAGE 4096ull

enum { SERVES, WHOLE, STOPPED, FAILED };                        /* Host/FaultServer.cs has the same */
enum { ON_FAULTS, WITH_RESTS, WITHOUT_RESTS, STOP };

struct run { uint64_t start, length; };                         /* registered memory */

struct vmm_faults {
    int faults, file, wake, done;
    unsigned char *memory, *buffer;
    uint64_t length, chunks, left, next;                        /* left: chunks to be served; next: the one to be read next */
    uint32_t *checksums;
    unsigned char *there;                                       /* for each chunk */
    unsigned char *released;                                    /* for each page: it was given back, and reads as zeros */
    struct run *runs;
    size_t run_count;
    int mode;                                                   /* atomic */
    int state;                                                  /* under the lock */
    pthread_mutex_t lock;                                       /* held while pages are put into memory or given back */
    pthread_cond_t settled;
    pthread_t thread;
    char name[4200], why[4600];
};

/* The thread. */
void *vmm_faults_serve(void *faults);

/* As MemoryChecksums.Of: 0 for zeros, and for nothing else. */
uint32_t vmm_checksum(const unsigned char *bytes, uint64_t count);

static inline uint64_t chunk_length(const struct vmm_faults *f, uint64_t chunk)
{
    uint64_t rest = f->length - chunk * CHUNK;
    return rest < CHUNK ? rest : CHUNK;
}

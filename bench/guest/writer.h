/* What the writing guest and who starts it agree on. Memory and arithmetic are -workload's
 * (tools/vm/workload-core.h), so who checks the one checks the other. Also for the assembler. */
#pragma once

/* In the image, and copied from there: WorkloadFacts; 32 bits that say what the working set holds
 * at first; 32 bits: up to how many milliseconds of writing are made up for. */
#define WRITER_IMAGE_FACTS 0x200
#define WRITER_FILL_OFFSET 64
#define WRITER_FACTS_BYTES 72
#define WRITER_KIND_OFFSET 8

#define WRITER_FACTS 0x6000
#define WRITER_STATE 0x10000
#define WRITER_READY 0x10040 /* 64 bits, 0 until the working set is filled */
#define WRITER_STACK 0x10ff8
#define WRITER_DIRECTORIES 0x100000

#define WRITER_IDLE 4
#define WRITER_FILL_ZERO 0   /* and a counter in each page that is written */
#define WRITER_FILL_RANDOM 1 /* incompressible */
#define WRITER_FILL_TEXT 2   /* about five to one */

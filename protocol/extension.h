/* What two Ferrys say to each other inside an unmodified stream: values of PING (main channel) and
 * PONG (return path), and one section name. A stock QEMU answers any PING with a PONG of the same
 * value and carries on, so HELLO costs nothing there and tells us whom we talk to.
 *
 *   source                            destination
 *     OPEN_RETURN_PATH, PING HELLO ->
 *                                  <- PONG HELLO_ANSWER          (a stock QEMU: PONG HELLO)
 *     rounds, guest paused, device state, end of stream ->
 *                                  <- PONG LOADED                everything is there and proved
 *     PING GO ->                                                 the source never runs it again
 *                                  <- PONG RUNNING, SHUT 0
 *
 * Instead of GO: PING ABORT, the guest runs on at the source; drop what was loaded. */
#pragma once

enum {
    FERRY_PING_HELLO = 0xfe770001,
    FERRY_PONG_HELLO_ANSWER = 0xfe770002,
    FERRY_PING_ALIVE = 0xfe770003, /* echoed when all before it is taken in: tells how far behind
                                    * the destination is, and that it lives while nothing is sent */
    FERRY_PONG_LOADED = 0xfe770010,
    FERRY_PING_GO = 0xfe770011,
    FERRY_PONG_RUNNING = 0xfe770012,
    FERRY_PING_ABORT = 0xfe770013,
};

/* A device section that only a Ferry peer is sent: be64 XXH3 of all RAM at the pause. */
#define FERRY_VERIFY_IDSTR "ferry/verify"
#define FERRY_VERIFY_VERSION 1
#define FERRY_VERIFY_SIZE 8

/* QEMU's section that carries the run state: be32 length of the name and its NUL, the name padded
 * with NUL to 100 bytes. "running" or "paused". */
#define FERRY_GLOBALSTATE_IDSTR "globalstate"
#define FERRY_GLOBALSTATE_VERSION 1
#define FERRY_GLOBALSTATE_SIZE 104

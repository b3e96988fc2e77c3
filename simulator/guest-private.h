/* What all guests have: the log. What writes is one of a few. */
#pragma once
#include "simulator/guest.h"

/* check, ended, laps and catch_up may be NULL. */
typedef struct {
    /* The writes up to now that are applied in order. */
    void (*advance)(FerrySimGuest *guest);
    /* Those of words [first, end) that are only drawn when somebody looks. */
    void (*catch_up)(FerrySimGuest *guest, uint64_t first_word, uint64_t end_word);
    void (*content)(const FerrySimGuest *guest, uint64_t page, FerrySimContent *out_content);
    gboolean (*check)(const FerrySimGuest *guest, GError **error);
    gboolean (*ended)(const FerrySimGuest *guest);
    unsigned (*laps)(const FerrySimGuest *guest);
    void (*free)(FerrySimGuest *guest);
} FerrySimGuestOps;

/* The first member of each guest. Where @changed has no bit, dirty and reported are the same. */
struct FerrySimGuest {
    const FerrySimGuestOps *ops;
    uint64_t n_pages, n_words;
    double now_ns;
    FerryBitmap dirty, reported; /* reported ones are dirty */
    FerryBitmap changed;         /* by word: pages became dirty since the last sync */
};

void ferry_sim_guest_init(FerrySimGuest *guest, const FerrySimGuestOps *ops, uint64_t n_pages);
void ferry_sim_guest_clear_members(FerrySimGuest *guest);

static inline void ferry_sim_guest_write(FerrySimGuest *g, uint64_t word, uint64_t mask)
{
    g->dirty.words[word] |= mask;
    g->changed.words[word / 64] |= UINT64_C(1) << (word % 64);
}

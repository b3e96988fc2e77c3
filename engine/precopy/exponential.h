/* exp and log without a mathematics library, the same on every machine. Pure. */
#pragma once
#include <glib.h>

G_BEGIN_DECLS

/* Both to about nine digits. @x of exp up to 700; under -700 it is 0. */
double ferry_exp(double x);
/* @x > 0. */
double ferry_log(double x);

G_END_DECLS

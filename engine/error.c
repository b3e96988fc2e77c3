#include "engine/error.h"

/* Not G_DEFINE_QUARK: its static variable is a data race between two threads' first errors. */
GQuark ferry_engine_error_quark(void)
{
    return g_quark_from_static_string("ferry-engine-error-quark");
}

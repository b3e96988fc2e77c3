/* Runs a command and gives out a userfaultfd for each memory that it and its descendants ever have:
 * a new one with every exec and fork. All of them are traced (ptrace) by a process of its own,
 * which lets them go and ends when this one does, so being killed harms nobody. One thread. */
#pragma once
#include <glib.h>
#include <sys/types.h>
#include "dirtylog/inject.h"

G_BEGIN_DECLS

typedef enum {
    FERRY_FOLLOW_MEMORY,    /* @pid has a new memory, @uffd (the caller's) was opened inside it */
    FERRY_FOLLOW_UNTRACKED, /* @pid has one as well, but @failure says why there is no @uffd */
    FERRY_FOLLOW_LEAVING,   /* @pid ends: its memory can be looked at for the last time */
    FERRY_FOLLOW_EXITED,    /* the command itself has ended, @status as from wait(2) */
    FERRY_FOLLOW_FAILED,    /* the command could not be started: @failure */
    FERRY_FOLLOW_END,       /* all have ended */
} FerryFollowKind;

typedef struct {
    FerryFollowKind kind;
    pid_t pid;
    int uffd, status;
    char name[16]; /* of the program */
    FerryInjectFailure failure;
} FerryFollowEvent;

typedef struct FerryFollow FerryFollow;
/* @command: NULL-terminated, found along PATH. It runs with the caller's terminal and files, with
 * the signals SIGINT, SIGTERM, SIGHUP and SIGPIPE as a program expects them. */
FerryFollow *ferry_follow_new(char *const *command, GError **error);
int ferry_follow_fd(const FerryFollow *follow); /* readable when there is an event */
/* Waits for one. Behind MEMORY and LEAVING the process stands still until ferry_follow_go_on. */
FerryFollowEvent ferry_follow_next(FerryFollow *follow);
void ferry_follow_go_on(FerryFollow *follow);
void ferry_follow_signal(const FerryFollow *follow, int number); /* to the command */
/* Those that still run go on, untraced. */
void ferry_follow_free(FerryFollow *follow);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryFollow, ferry_follow_free)

G_END_DECLS

/* BCC includes this first and asks for no more of the kernel's configuration. */
#define CONFIG_BPF_SYSCALL 1

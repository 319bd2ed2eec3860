# PVH entry: 32-bit protected mode, paging off, flat segments, EBX = physical address of
# hvm_start_info (Xen docs/misc/pvh.pandoc, "Direct Boot"). Leaves in long mode with the first
# 4 GiB identity-mapped; `memory` replaces these tables with exact ones.

.set CR0_PE_WP_PG, 0x80010001
.set CR4_PAE, 1 << 5
.set EFER, 0xc0000080
.set EFER_LME_NXE, (1 << 8) | (1 << 11)
.set CPUID_LONG_MODE, 29            # CPUID 8000_0001h EDX
.set CPUID_NX, 20
.set PRESENT_WRITABLE, 0x3
.set HUGE, 0x80

.section .note.pvh, "a", @note
.balign 4
    .long 4, 8, 18                  # name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start

.section .text.boot, "ax", @progbits
.code32
.global pvh_start
pvh_start:
    cld
    mov edi, ebx
    lea esp, [stack_top]

    mov eax, 0x80000000
    cpuid
    lea esi, [no_long_mode]
    cmp eax, 0x80000001
    jb refuse
    mov eax, 0x80000001
    cpuid
    bt edx, CPUID_LONG_MODE
    jnc refuse
    lea esi, [no_nx]
    bt edx, CPUID_NX
    jnc refuse

    # Four page directories of 2 MiB pages.
    lea eax, [boot_directories]
    mov ebx, PRESENT_WRITABLE | HUGE
    mov ecx, 2048
1:  mov [eax], ebx
    add eax, 8
    add ebx, 0x200000
    loop 1b

    lea eax, [boot_pdpt]
    lea ebx, [boot_directories + PRESENT_WRITABLE]
    mov ecx, 4
2:  mov [eax], ebx
    add eax, 8
    add ebx, 0x1000
    loop 2b

    lea eax, [boot_pdpt + PRESENT_WRITABLE]
    mov [boot_pml4], eax

    mov eax, CR4_PAE
    mov cr4, eax
    lea eax, [boot_pml4]
    mov cr3, eax
    mov ecx, EFER
    rdmsr
    or eax, EFER_LME_NXE
    wrmsr
    mov eax, CR0_PE_WP_PG
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    push 0x8
    lea eax, [long_start]
    push eax
    retf

# Says on COM1 what the processor lacks (ESI), then ends the machine as far as it can.
refuse:
    mov dx, 0x3f8
3:  lodsb
    test al, al
    jz 4f
    out dx, al
    jmp 3b
4:  mov dx, 0xf4                    # isa-debug-exit
    mov eax, 1
    out dx, eax
5:  cli
    hlt
    jmp 5b

.code64
long_start:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    lea rsp, [rip + stack_top]
    xor ebp, ebp                    # ends the chain of frame pointers
    mov edi, edi
    call {start}
    ud2

.section .rodata.boot, "a", @progbits
no_long_mode: .asciz "godwit: this processor has no 64-bit mode; give the machine a 64-bit -cpu\n"
no_nx:        .asciz "godwit: this processor has no NX bit; give the machine a -cpu with +nx\n"
.balign 8
boot_gdt:
    .quad 0
    .quad 0x00209a0000000000        # 64-bit code, ring 0
boot_gdt_pointer:
    .word 15
    .long boot_gdt

.section .bss.boot, "aw", @nobits
.balign 4096
boot_pml4:        .skip 4096
boot_pdpt:        .skip 4096
boot_directories: .skip 4 * 4096

.global stack_guard
.global stack_bottom
.global stack_top
stack_guard:      .skip 4096        # left unmapped by `memory`
stack_bottom:     .skip {stack_size}
stack_top:

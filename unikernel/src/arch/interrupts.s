# One entry of 16 bytes for each of the 256 vectors. Each brings the stack to the same shape, the
# `Frame` of interrupts.rs: registers, vector, error code (0 where the processor pushes none), and
# what the processor pushed. Vectors with an error code: Intel SDM volume 3, table 6-1; 28 to 30
# are AMD's (APM volume 2, section 8.2).

.section .text
.balign 16
.global interrupt_entries
interrupt_entries:
.set vector, 0
.rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
        push 0
    .endif
    push vector
    jmp interrupt_common
    .set vector, vector + 1
.endr

interrupt_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    # The processor aligned the stack to 16 before its five words; 5 + 2 + 15 words keep that.
    call {dispatch}
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {EnergyTrading} from "../src/EnergyTrading.sol";
import {Settlement} from "../src/Settlement.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {Escrow} from "../src/trading/Escrow.sol";
import {Cast} from "./Cast.sol";

/// @dev A token of eighteen decimals that calls back whenever it moves, as the worst of tokens would.
contract Boomerang is ERC20 {
    EnergyTrading private _trading;
    bytes private _call;
    bytes4 public answer;
    bool public gotThrough;

    constructor() ERC20("Boomerang", "BOO") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function aim(EnergyTrading trading, bytes calldata data) external {
        (_trading, _call) = (trading, data);
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (_call.length != 0) {
            bytes memory reason;
            (gotThrough, reason) = address(_trading).call(_call);
            answer = bytes4(reason);
        }
        super._update(from, to, amount);
    }
}

contract EscrowReentryTest is Cast {
    uint256 private constant UNITS = 1e9;
    uint32 private constant OWN = 3;

    Boomerang private _boomerang;
    EnergyTrading private _trading;
    uint256 private _buyId;
    uint256 private _sellId;

    /// @dev The token trades as well: it owns account 3.
    function setUp() public override {
        super.setUp();
        _boomerang = new Boomerang();
        settlement = new Settlement(_boomerang, GOVERNANCE, REGISTRAR, COORDINATOR, terms(), IMPORT, EXPORT);
        address[3] memory owners = [ADA, BO, address(_boomerang)];
        _trading = new EnergyTrading(settlement, 300, 60, 3_600, 0, 0, IMPORT);
        VM.prank(GOVERNANCE);
        settlement.setTrading(address(_trading));
        _boomerang.mint(address(this), 1e30);
        _boomerang.approve(address(_trading), type(uint256).max);
        for (uint32 i = 0; i < 3; i++) {
            VM.prank(REGISTRAR);
            settlement.openAccount(owners[i], owners[i]);
            _trading.fund(i + 1, 1e9);
        }
        VM.warp(block.timestamp + 3_600);
        VM.prank(ADA);
        _buyId = _trading.createOrder(10, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.BUY);
        VM.prank(BO);
        _sellId = _trading.createOrder(10, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.SELL);
    }

    function requireExactBooks(uint256 unpaid) private view {
        uint256 sum = _trading.lockedNano(_buyId) + _trading.lockedNano(_sellId) + unpaid;
        for (uint32 account = 1; account <= OWN; account++) {
            sum += _trading.freeNano(account);
        }
        assertEq(_boomerang.balanceOf(address(_trading)), sum * UNITS);
    }

    function test_a_match_moves_no_token() public {
        _boomerang.aim(_trading, abi.encodeCall(_trading.matchOrders, (_buyId, _sellId)));
        _trading.matchOrders(_buyId, _sellId);
        assertTrue(!_boomerang.gotThrough() && _boomerang.answer() == bytes4(0));
        requireExactBooks(10 * 100);
    }

    function test_a_trade_cannot_be_paid_twice_on_the_way() public {
        _trading.matchOrders(_buyId, _sellId);
        VM.warp(uint256(_trading.intervalOf(_sellId) + 1) * 900);
        _boomerang.aim(_trading, abi.encodeCall(_trading.settleTransaction, (1)));
        _trading.settleTransaction(1);
        assertTrue(!_boomerang.gotThrough() && _boomerang.answer() == EnergyTrading.AlreadySettled.selector);
        assertEq(_boomerang.balanceOf(BO), 10 * 100 * UNITS);
        requireExactBooks(0);
    }

    function test_free_escrow_cannot_be_taken_twice_on_the_way() public {
        _boomerang.aim(_trading, abi.encodeCall(_trading.withdrawFree, (1e9)));
        VM.prank(address(_boomerang));
        _trading.withdrawFree(1e9);
        assertTrue(!_boomerang.gotThrough() && _boomerang.answer() == Escrow.NotCovered.selector);
        assertEq(_boomerang.balanceOf(address(_boomerang)), 1e9 * UNITS);
        requireExactBooks(0);
    }

    function test_escrow_cannot_be_returned_twice_on_the_way() public {
        VM.warp(block.timestamp + RELEASE_S);
        _boomerang.aim(_trading, abi.encodeCall(_trading.returnEscrow, (_sellId)));
        _trading.returnEscrow(_sellId);
        assertTrue(!_boomerang.gotThrough() && _boomerang.answer() == EnergyTrading.NothingLocked.selector);
        assertEq(settlement.depositedNano(2), 10 * 299_900);
        requireExactBooks(0);
    }

    /// @dev Escrow counts before the token moved: if it does not move in the end, nothing of this has happened.
    function test_escrow_that_is_taken_while_it_is_paid_in_leaves_the_books_right() public {
        _boomerang.aim(_trading, abi.encodeCall(_trading.withdrawFree, (2e9)));
        _trading.fund(OWN, 1e9);
        assertTrue(_boomerang.gotThrough());
        assertEq(_trading.freeNano(OWN), 0);
        assertEq(_boomerang.balanceOf(address(_boomerang)), 2e9 * UNITS);
        requireExactBooks(0);
        _boomerang.approve(address(_trading), 1e9 * UNITS - 1);
        VM.expectRevert();
        _trading.fund(OWN, 1e9);
        requireExactBooks(0);
    }
}
